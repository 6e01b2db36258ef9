//! What time it is for a payload under another clock, and that nothing else changes for it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests, which clippy knows only under its own harness"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use countersign_sandbox::{Clock, Exit, Limits, Machine, Mount, Sandbox};
use libtest_mimic::{Arguments, Trial};
use tempfile::TempDir;

/// As far as reprotest moves its clock, and a little.
const FAR: i64 = 400 * 86_400;
/// September 2001.
const HELD: i64 = 1_000_000_000;
/// One of each kind.
const CLOCKS: [Clock; 3] = [Clock::Offset(FAR), Clock::Offset(-FAR), Clock::Held(HELD)];

fn main() {
    countersign_sandbox::init_if_asked();
    let trials = [
        ("every_way_to_read_the_time_tells_the_other_one", every_way as fn()),
        ("a_process_that_hides_its_memory_is_told_the_other_time", hidden),
        ("a_dynamic_program_and_its_children_are_told_the_other_time", dynamic),
        ("a_wait_until_a_moment_takes_as_long_as_by_the_real_clock", waits),
        ("a_crowd_of_threads_and_processes_is_attended", crowd),
        ("signals_and_job_control_are_as_without_a_tracer", signals),
        ("the_end_of_the_payload_is_told_as_it_was", ends),
        ("a_payload_that_never_ends_is_killed_at_its_limit", limit),
        ("rustc_works_and_its_output_tells_the_other_time", compiler),
    ];
    let trials = trials.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

fn every_way() {
    for clock in CLOCKS {
        assert_told(clock, "read");
    }
}

fn hidden() {
    for clock in CLOCKS {
        assert_told(clock, "hide");
    }
}

fn dynamic() {
    for clock in CLOCKS {
        let room = Room::new();
        let expected = Expected::new(clock);
        let date = "echo now $(date +%s); (echo child $(date +%s) & wait)";
        let (exit, told) = room.run(clock, ["/bin/sh", "-c", date]);
        assert_eq!(exit, Exit::Code(0));
        expected.check(&told, "now");
        expected.check(&told, "child");
    }
}

fn waits() {
    for clock in CLOCKS {
        let (exit, told) = Room::new().run(clock, ["/program", "wait"]);
        assert_eq!(exit, Exit::Code(0), "{told:?}");
        for how in [
            "condition",
            "mutex",
            "semaphore",
            "sleep",
            "sleep-tai",
            "descriptor",
            "descriptor-monotonic",
            "timer",
        ] {
            // Translated the wrong way, it does not wait at all, or for more than a year.
            assert!(number(&told, how) >= 199, "{clock:?}: {how} {told:?}");
        }
        assert!(number(&told, "interruptions") > 0, "{told:?}");
    }
}

fn crowd() {
    let (exit, told) = Room::new().run(Clock::Offset(FAR), ["/program", "crowd"]);
    assert_eq!(exit, Exit::Code(0), "{told:?}");
    assert_eq!(number(&told, "readings"), 4000);
    assert_eq!(number(&told, "children"), 200);
}

fn signals() {
    let (exit, told) = Room::new().run(Clock::Held(HELD), ["/program", "signals"]);
    assert_eq!(exit, Exit::Code(0), "{told:?}");
    for what in ["stopped", "stays", "continued", "killed"] {
        assert_eq!(number(&told, what), 1, "{what}: {told:?}");
    }
    assert_eq!(number(&told, "delivered"), 4);
}

fn ends() {
    for clock in CLOCKS {
        let (exit, _) = Room::new().run(clock, ["/program", "exit"]);
        assert_eq!(exit, Exit::Code(42));
        let (exit, _) = Room::new().run(clock, ["/program", "die"]);
        assert_eq!(exit, Exit::Signal(15));
    }
}

fn limit() {
    let room = Room::new();
    let limits = Limits { wall: Some(Duration::from_millis(300)), ..Limits::default() };
    let forever = "sleep 1000000 & while :; do date; done";
    let sandbox = room.sandbox(Clock::Offset(FAR), ["/bin/sh", "-c", forever]).limits(limits);
    assert_eq!(sandbox.run().unwrap().exit, Exit::WallTime);
}

fn compiler() {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot).unwrap().trim_end());
    for clock in CLOCKS {
        let room = Room::new();
        let build = room.directory.path().join("build");
        fs::create_dir(&build).unwrap();
        let source = "fn main() { println!(\"now {}\", std::time::SystemTime::UNIX_EPOCH.elapsed()\
                      .unwrap().as_secs()) }";
        fs::write(build.join("hello.rs"), source).unwrap();
        let expected = Expected::new(clock);
        let command = "rustc -O hello.rs && ./hello";
        let sandbox = room
            .sandbox(clock, ["/bin/sh", "-c", command])
            .mount(Mount::ReadOnly { from: sysroot.clone(), to: "/rust".into() })
            .mount(Mount::Writable { from: build, to: "/build".into() })
            .environment("PATH", "/rust/bin:/usr/bin:/bin")
            .work_dir("/build");
        let (exit, told) = room.finish(sandbox);
        assert_eq!(exit, Exit::Code(0), "{told:?}");
        expected.check(&told, "now");
    }
}

/// Every line of the program's readings is right.
fn assert_told(clock: Clock, verb: &str) {
    let expected = Expected::new(clock);
    let (exit, told) = Room::new().run(clock, ["/program", verb]);
    assert_eq!(exit, Exit::Code(0), "{told:?}");
    for way in ["realtime", "coarse", "tai", "gettimeofday", "time"] {
        expected.check(&told, way);
    }
    if cfg!(target_arch = "x86_64") {
        expected.check(&told, "time-call");
    }
    assert_eq!(told["adjtimex"], "refused");
    assert_eq!(number(&told, "null"), -1);
}

/// What a payload says: the first word of each line, and the rest.
type Told = BTreeMap<String, String>;

fn number(told: &Told, what: &str) -> i64 {
    told.get(what).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{what}: {told:?}"))
}

/// What the clock of a payload shows that is started now.
struct Expected {
    first: i64,
    since: SystemTime,
}

impl Expected {
    fn new(clock: Clock) -> Self {
        let since = SystemTime::now();
        let real = since.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let first = match clock {
            Clock::Real => real,
            Clock::Offset(seconds) => real + seconds,
            Clock::Held(seconds) => seconds,
        };
        Self { first, since }
    }

    /// Between the start and now; coarse clocks lag by a tick, and seconds are cut off.
    fn check(&self, told: &Told, what: &str) {
        let passed = self.since.elapsed().unwrap().as_secs() as i64;
        let range = self.first - 1..=self.first + passed + 1;
        let shown = number(told, what);
        assert!(range.contains(&shown), "{what}: {shown} is not in {range:?}");
    }
}

/// A scratch directory with the test's program, and sandboxes that see it and the system's tools.
struct Room {
    directory: TempDir,
}

impl Room {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock/program.c");
        let mut compile = Command::new("cc");
        compile.args(["-static", "-pthread", "-o"]).arg(&program).arg(source);
        assert!(compile.status().unwrap().success(), "a static C library is needed (libc.a)");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn run<const N: usize>(&self, clock: Clock, command: [&str; N]) -> (Exit, Told) {
        self.finish(self.sandbox(clock, command))
    }

    fn sandbox<const N: usize>(&self, clock: Clock, command: [&str; N]) -> Sandbox {
        let read_only =
            |path: &Path, to: &str| Mount::ReadOnly { from: path.into(), to: to.into() };
        let mut sandbox = Sandbox::new(command.map(OsString::from).into())
            .machine(Machine { clock, ..Machine::default() })
            .environment("PATH", "/usr/bin:/bin")
            .mount(read_only(&self.directory.path().join("program"), "/program"))
            .mount(read_only(Path::new("/usr"), "/usr"));
        for name in ["/bin", "/lib", "/lib64", "/etc/alternatives"] {
            let path = Path::new(name);
            if let Ok(target) = fs::read_link(path) {
                sandbox = sandbox.mount(Mount::Link { to: name.into(), target });
            } else if path.exists() {
                sandbox = sandbox.mount(read_only(path, name));
            }
        }
        sandbox
    }

    fn finish(&self, sandbox: Sandbox) -> (Exit, Told) {
        let log = self.directory.path().join("log");
        let ended = sandbox.output(File::create(&log).unwrap(), 1 << 20).run().unwrap();
        let text = fs::read_to_string(log).unwrap();
        let told = text
            .lines()
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
            .map(|(what, rest)| (what.to_owned(), rest.to_owned()))
            .collect();
        (ended.exit, told)
    }
}
