//! How a sandbox starts and ends, and that nothing is left of it.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use countersign_sandbox::{Error, Exit, Mount, Readiness, Sandbox, capabilities};

use crate::world::{
    INSIDE, PATIENCE, Test, is_root, printed, processes_with, run, sandbox, unique_word, until,
    with_libraries,
};

pub(crate) const ALL: &[Test] = &[
    ("an_exit_code_and_a_signal_are_told_apart", exits),
    ("a_program_that_is_not_there_is_an_error_of_that_name", no_program),
    ("a_program_is_looked_for_in_the_given_path", search),
    ("a_description_without_sense_is_refused", nonsense),
    ("a_daemon_left_behind_is_killed_and_told", daemon),
    ("dropping_a_running_sandbox_kills_it", dropped),
    ("asking_politely_comes_first", polite),
    ("who_does_not_listen_is_killed", impolite),
    ("readiness_tells_what_happened_first", readiness),
    ("nothing_survives_the_callers_sudden_death", sudden_death),
    ("no_control_group_and_no_process_is_left", leftovers),
    ("capabilities_are_listed_by_name", listed),
    ("usage_is_measured", usage),
    ("what_its_processes_hold_is_read_while_they_run", sampled),
];

/// Whether this machine has a capability.
pub(crate) fn has(name: &str) -> bool {
    capabilities().iter().any(|one| one.name == name && one.missing.is_none())
}

fn exits() {
    assert_eq!(run(sandbox(["exit", "0"])).0.exit, Exit::Code(0));
    assert_eq!(run(sandbox(["exit", "42"])).0.exit, Exit::Code(42));
}

fn no_program() {
    for program in ["/no/such/program", "nameless", "/etc/passwd"] {
        let refused = Sandbox::new(vec![program.into()]).run();
        assert!(
            matches!(&refused, Err(Error::Program { path, .. }) if path.as_os_str() == program),
            "{refused:?}"
        );
    }
}

fn search() {
    let words = ["test", INSIDE, "exit", "3"].map(Into::into).to_vec();
    let sandbox = with_libraries(Sandbox::new(words)).environment("PATH", "/nowhere:/");
    assert_eq!(run(sandbox).0.exit, Exit::Code(3));
}

fn nonsense() {
    for sandbox in [
        Sandbox::new(Vec::new()),
        sandbox(["exit", "0"]).environment("A=B", "c"),
        sandbox(["exit", "0"]).listen(vec![("a:b".to_owned(), "127.0.0.1:1".parse().unwrap())]),
    ] {
        assert!(matches!(sandbox.run(), Err(Error::Description { .. })));
    }
}

fn daemon() {
    let word = unique_word("daemon");
    let (ended, _) = run(sandbox(["daemon", &word]));
    assert_eq!((ended.exit, ended.left_running), (Exit::Code(0), 1));
    assert_eq!(run(sandbox(["exit", "0"])).0.left_running, 0);
    assert!(processes_with(&word).is_empty());
}

fn dropped() {
    let word = unique_word("dropped");
    let running = sandbox(["hang", &word]).spawn().unwrap();
    assert_eq!(processes_with(&word).len(), 1);
    drop(running);
    assert!(processes_with(&word).is_empty());
}

fn polite() {
    let mut running = sandbox(["polite"]).notify().spawn().unwrap();
    assert_eq!(running.wait_ready(Instant::now() + PATIENCE).unwrap(), Readiness::Ready);
    running.terminate(PATIENCE).unwrap();
    assert_eq!(running.has_exited(), Some(Exit::Code(0)));
    assert_eq!(running.wait().unwrap().exit, Exit::Code(0));
}

fn impolite() {
    // "polite" blocks SIGTERM; waited for no time at all, it is killed before it can say good-bye, or just after.
    let mut running = sandbox(["polite"]).notify().spawn().unwrap();
    assert_eq!(running.wait_ready(Instant::now() + PATIENCE).unwrap(), Readiness::Ready);
    running.terminate(Duration::ZERO).unwrap();
    assert!(running.has_exited().is_some());
}

fn readiness() {
    let mut running = sandbox(["exit", "5"]).notify().spawn().unwrap();
    let saw = running.wait_ready(Instant::now() + PATIENCE).unwrap();
    assert_eq!(saw, Readiness::Exited(Exit::Code(5)));
    let mut running = sandbox(["hang"]).notify().spawn().unwrap();
    let saw = running.wait_ready(Instant::now() + Duration::from_millis(20)).unwrap();
    assert_eq!(saw, Readiness::TimedOut);
}

/// A caller of its own process, which is killed.
fn sudden_death() {
    let word = unique_word("sudden");
    let dir = tempfile::tempdir().unwrap();
    let mut caller = Command::new("/proc/self/exe")
        .args([INSIDE, "caller", &word])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut started = [0; 1];
    caller.stdout.take().unwrap().read_exact(&mut started).unwrap();
    let payload = |pid: &i32| *pid != i32::try_from(caller.id()).unwrap();
    assert_eq!(processes_with(&word).iter().filter(|pid| payload(pid)).count(), 1);
    caller.kill().unwrap();
    caller.wait().unwrap();
    until("the payload is gone", || processes_with(&word).is_empty());
    // The keeper, which outlives the caller, hands the scratch directory back even now.
    use std::os::unix::fs::MetadataExt;
    let own = nix::unistd::geteuid().as_raw();
    until("the directory is back", || fs::metadata(dir.path()).unwrap().uid() == own);
}

/// What `sudden_death` kills: runs in a process of its own.
pub(crate) fn be_a_caller(word: &str, dir: &str) {
    let running = sandbox(["hang", word])
        .mount(Mount::Writable { from: dir.into(), to: "/scratch".into() })
        .spawn()
        .unwrap();
    println!("started");
    std::mem::forget(running);
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn leftovers() {
    let word = unique_word("leftover");
    let limits = countersign_sandbox::Limits {
        memory: is_root().then_some(64 << 20),
        ..countersign_sandbox::Limits::default()
    };
    let running = sandbox(["hang", &word]).limits(limits).spawn().unwrap();
    let pid = processes_with(&word)[0];
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let ours: Vec<&str> = groups
        .lines()
        .filter_map(|line| line.split_once("/countersign-").map(|(_, name)| name))
        .collect();
    assert!(!is_root() || !ours.is_empty(), "{groups}");
    drop(running);
    for name in ours {
        let left =
            find_dir(std::path::Path::new("/sys/fs/cgroup"), &format!("countersign-{name}"), 6);
        assert!(!left, "{name} is left");
    }
}

fn find_dir(top: &std::path::Path, name: &str, depth: u32) -> bool {
    let Ok(entries) = fs::read_dir(top) else { return false };
    entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).any(
        |entry| {
            entry.file_name().to_string_lossy() == name
                || (depth > 0 && find_dir(&entry.path(), name, depth - 1))
        },
    )
}

fn listed() {
    let all = capabilities();
    let missing: Vec<_> = all.iter().filter(|one| one.missing.is_some()).collect();
    let optional = ["memory limit", "process group limit"];
    assert!(missing.iter().all(|one| optional.contains(&one.name)), "{missing:?}");
    assert_eq!(all.iter().any(|one| one.name == "private user id"), is_root());
    assert!(all.len() >= 11);
}

fn usage() {
    let (ended, _) = run(sandbox(["eat", "64"]));
    assert!(ended.usage.max_rss > 64 << 20, "{:?}", ended.usage);
    assert!(ended.usage.cpu > Duration::ZERO && ended.usage.wall > Duration::ZERO);
    assert_eq!(printed(sandbox(["eat", "1"])), "ate 1\n");
}

fn sampled() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = Mount::Writable { from: dir.path().to_owned(), to: "/scratch".into() };
    let mut running =
        sandbox(["hold", "/scratch/file", "48"]).mount(scratch).notify().spawn().unwrap();
    assert_eq!(running.wait_ready(Instant::now() + PATIENCE).unwrap(), Readiness::Ready);
    let sample = running.sample();
    assert_eq!(sample.processes, 2, "itself and a child: {sample:?}");
    assert!(sample.threads >= 2 + 8, "{sample:?}");
    assert!(sample.resident > 48 << 20 && sample.resident < 400 << 20, "{sample:?}");
    assert!(sample.descriptors.is_some_and(|open| (20..100).contains(&open)), "{sample:?}");
    assert!(sample.cpu >= Duration::from_millis(200), "{sample:?}");
    // A disk that is memory is not written to.
    assert!(
        sample.written.is_some_and(|written| written >= 8 << 20) || on_memory(dir.path()),
        "{sample:?}"
    );
    running.terminate(Duration::ZERO).unwrap();
    let after = running.sample();
    assert_eq!((after.processes, after.resident), (0, 0));
    assert!(after.cpu >= sample.cpu && after.written >= sample.written, "{after:?}");
}

fn on_memory(path: &std::path::Path) -> bool {
    let kind = nix::sys::statfs::statfs(path).unwrap().filesystem_type();
    kind == nix::sys::statfs::TMPFS_MAGIC
}
