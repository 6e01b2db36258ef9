//! What the tests share: a sandbox with this program in it, and ways to look at what came out.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use countersign_sandbox::{Ended, Exit, Mount, Sandbox};

/// A test and its name, which is a sentence.
pub(crate) type Test = (&'static str, fn());

/// The first argument of this program when it is a payload.
pub(crate) const INSIDE: &str = "inside";

/// Where this program lies inside.
pub(crate) const PROGRAM: &str = "/test";

/// The user that plays the plain one.
const NOBODY: u32 = 65534;

/// Longer than any of this ever takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// This program as a payload with this verb, and what it needs to be loaded.
pub(crate) fn sandbox<const N: usize>(words: [&str; N]) -> Sandbox {
    let mut command: Vec<OsString> = vec![PROGRAM.into(), INSIDE.into()];
    command.extend(words.map(OsString::from));
    with_libraries(Sandbox::new(command))
}

/// This program and the system's libraries.
pub(crate) fn with_libraries(mut sandbox: Sandbox) -> Sandbox {
    let own = std::env::current_exe().unwrap();
    sandbox = sandbox.mount(Mount::ReadOnly { from: own, to: PROGRAM.into() });
    for name in ["/usr", "/lib", "/lib64", "/bin"].map(PathBuf::from) {
        sandbox = match fs::read_link(&name) {
            Ok(target) => sandbox.mount(Mount::Link { to: name, target }),
            Err(_) if name.exists() => {
                sandbox.mount(Mount::ReadOnly { from: name.clone(), to: name })
            }
            Err(_) => sandbox,
        };
    }
    sandbox
}

/// Runs a payload, and returns how it ended and what it printed.
pub(crate) fn run(sandbox: Sandbox) -> (Ended, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let ended = sandbox.output(File::create(&path).unwrap(), 1 << 20).run().unwrap();
    (ended, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned())
}

/// What a payload prints that ends well.
pub(crate) fn printed(sandbox: Sandbox) -> String {
    let (ended, output) = run(sandbox);
    assert_eq!(ended.exit, Exit::Code(0), "{output}");
    output
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes of this machine with this word in their command line.
pub(crate) fn processes_with(word: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).contains(word).then_some(pid)
    });
    pids.collect()
}

/// A word that no other process has in its command line.
pub(crate) fn unique_word(what: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs all tests again as a plain user, from a place where that user can read this program.
pub(crate) fn run_as_plain_user() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("tests-of-a-plain-user");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    chown(&scratch, Some(NOBODY), Some(NOBODY)).unwrap();
    let output = Command::new(program)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir(Path::new("/"))
        .env("TMPDIR", &scratch)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("0 failed"), "{text}");
}
