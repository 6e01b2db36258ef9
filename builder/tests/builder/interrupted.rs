//! Interrupted at any moment, by a signal or a full disk: a later run finishes, and nothing half made is left or believed.
//!
//! Plain runs try a few moments; `COUNTERSIGN_INTERRUPT=40` tries forty of every verb, with each signal.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use countersign_metadata::Sha256;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::environments::Repository;
use crate::project::{Project, own_home, ran};

/// What no run leaves behind, and no later run leaves lying.
const HALF: [&str; 8] = [
    ".new-",
    ".scratch-",
    ".spool-",
    ".pack-",
    ".countersign-new-",
    "countersign-scratch-",
    "countersign-check-",
    ".tmp",
];
/// Longest that a test waits for what happens at once.
const CAP: Duration = Duration::from_secs(120);

/// A project, and a home whose cache and scratch are its own.
struct Place {
    project: Project,
    home: tempfile::TempDir,
    repository: Option<Repository>,
}

impl Place {
    fn new() -> Self {
        let step = "mkdir d; for n in 1 2 3 4 5 6 7 8 9; do seq 20000 > d/$n; done; cat d/* > thing; chmod 500 d";
        let project = Project::new(&[step], &[("a", "a"), ("b/c", "c")]);
        let home = own_home();
        project.lock();
        Self { project, home, repository: None }
    }

    /// With an environment of small Debian packages, which each run puts together from nothing.
    fn of_packages() -> Self {
        let this = Self::new();
        let path = this.project.path("countersign.toml");
        let text = fs::read_to_string(&path).unwrap();
        let host = "kind = \"host\"\ntools = [\"c\"]";
        assert!(text.contains(host));
        fs::write(path, text.replace(host, "kind = \"debian\"\npackages = [\"tool\"]")).unwrap();
        fs::remove_dir_all(this.home.path().join("cache")).unwrap();
        fs::create_dir(this.home.path().join("cache")).unwrap();
        Self { repository: Some(Repository::new()), ..this }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-builder"));
        command.args(arguments).current_dir(self.project.dir.path());
        command.env("XDG_CACHE_HOME", self.at("cache")).env("TMPDIR", self.at("tmp"));
        command.env("COUNTERSIGN_TEST_HOME", self.home.path());
        if let Some(repository) = &self.repository {
            command.env("APT_CONFIG", repository.config());
        }
        command
    }

    /// The verb's arguments, with what it writes below the home.
    fn arguments(&self, verb: &str) -> Vec<String> {
        let at = |name: &str| self.at(name).display().to_string();
        let words: Vec<String> = match verb {
            "lock" => vec!["lock".into(), ".".into()],
            "build" => vec!["build".into(), ".".into(), "-o".into(), at("out")],
            "check" => vec!["check".into(), ".".into(), "--vary".into(), "path,file-system".into()],
            "pack" => vec!["pack".into(), at("tree"), "-o".into(), at("out/tree.tar.zst")],
            "export" => vec!["export".into(), ".".into(), "-o".into(), at("context")],
            "env" => ["env", "export", "."]
                .map(str::to_owned)
                .into_iter()
                .chain(["-o".into(), at("context")])
                .collect(),
            other => panic!("no verb {other}"),
        };
        words
    }

    /// Takes away what an earlier run has finished, so that the next has all to do.
    fn reset(&self, verb: &str) {
        for name in ["out", "context"] {
            let _not_there = fs::remove_dir_all(self.at(name));
        }
        fs::create_dir_all(self.at("out")).unwrap();
        if verb == "lock" {
            let _not_there = fs::remove_file(self.project.path("countersign.lock"));
            let _not_there = fs::remove_dir_all(self.at("cache/countersign/inputs"));
        }
        if self.repository.is_some() {
            let cache = self.at("cache/countersign");
            assert!(
                Command::new("rm")
                    .arg("-rf")
                    .arg(cache.join("environments"))
                    .status()
                    .unwrap()
                    .success()
            );
        }
        if verb == "pack" && !self.at("tree").exists() {
            fs::create_dir(self.at("tree")).unwrap();
            let noise: Vec<u8> =
                (0..4_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            for name in 0..8 {
                fs::write(self.at(&format!("tree/{name}")), &noise).unwrap();
            }
        }
    }

    fn finishes(&self, verb: &str) -> Vec<String> {
        let arguments = self.arguments(verb);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        ran(&mut self.command(&arguments)).ended(0);
        self.results()
    }

    /// Digests of what a verb has made.
    fn results(&self) -> Vec<String> {
        let mut files = Vec::new();
        for top in [self.at("out"), self.at("context"), self.project.path("countersign.lock")] {
            walk(&top, &mut files);
        }
        files.sort();
        // Of other files, their being there: they tell the time, or have thousands beside them.
        let counts = |path: &Path| {
            let name = path.file_name().unwrap().to_string_lossy();
            ["release.json", "countersign.lock", "index.json"].contains(&&*name)
                || name.ends_with(".zst")
        };
        files
            .iter()
            .filter(|path| counts(path))
            .map(|path| format!("{} {}", path.display(), Sha256::of(&fs::read(path).unwrap())))
            .collect()
    }

    /// Everything that is left of the run, when all its processes are gone.
    fn left(&self) -> Vec<PathBuf> {
        let mark = format!("COUNTERSIGN_TEST_HOME={}", self.home.path().display());
        let end = Instant::now() + CAP;
        while of_mark(&mark) > 0 {
            assert!(Instant::now() < end, "processes are left");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&*self.home.path().to_string_lossy()), "{mounts}");
        let mut files = Vec::new();
        walk(self.home.path(), &mut files);
        walk(self.project.dir.path(), &mut files);
        files.retain(|path| {
            path.components().any(|part| {
                let name = part.as_os_str().to_string_lossy();
                // The test's own directories are not below what is walked by that name.
                HALF.iter().any(|half| name.starts_with(half))
                    && !self.home.path().components().any(|c| c == part)
                    && !self.project.dir.path().components().any(|c| c == part)
            })
        });
        files
    }

    /// Each input in the cache is what its name says.
    fn cache_is_good(&self) {
        for entry in fs::read_dir(self.at("cache/countersign/inputs")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                assert_eq!(Sha256::of(&fs::read(&path).unwrap()).to_string(), name);
            }
        }
    }

    /// Sends the signal after so long, lets a later run finish, and compares.
    fn interrupted(&self, verb: &str, signal: Signal, after: Duration, wanted: &[String]) {
        self.reset(verb);
        let arguments = self.arguments(verb);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut run =
            self.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(after);
        let _ended_already = kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), signal);
        let ended = run.wait().unwrap();
        let who = format!("{verb}, {signal} after {after:?}: {ended}");
        let left = self.left();
        if signal != Signal::SIGKILL && ended.signal() != Some(signal as i32) {
            assert!(matches!(ended.code(), Some(0 | 8)), "{who}");
            assert!(left.is_empty(), "{who}: {left:?}");
        }
        self.cache_is_good();
        if matches!(verb, "export" | "env") && self.at("context/root").exists() {
            // It was quicker: what has its name is whole.
            assert_eq!(self.results(), wanted, "{who}");
            return;
        }
        assert_eq!(self.finishes(verb), wanted, "{who}");
        let left = self.left();
        assert!(left.is_empty(), "{who}, and again: {left:?}");
        self.cache_is_good();
    }

    /// The same at so many moments of an undisturbed run.
    fn at_moments(&self, verb: &str, signals: &[Signal], moments: u32) {
        self.reset(verb);
        let begun = Instant::now();
        let wanted = self.finishes(verb);
        let whole = begun.elapsed();
        for signal in signals {
            for moment in 1..=moments {
                self.interrupted(verb, *signal, whole * moment / (moments + 1), &wanted);
            }
        }
    }
}

fn walk(path: &Path, files: &mut Vec<PathBuf>) {
    let Ok(meta) = path.symlink_metadata() else { return };
    files.push(path.to_owned());
    if meta.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten() {
            walk(&entry.unwrap().path(), files);
        }
    }
}

/// How many processes have this in their environment.
pub(crate) fn of_mark(mark: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let has_mark = |path: PathBuf| {
        fs::read(path.join("environ"))
            .is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|one| one == mark.as_bytes()))
    };
    processes.filter(|entry| has_mark(entry.path())).count()
}

/// How many moments of each verb with each signal, where it is told.
fn moments() -> Option<u32> {
    std::env::var("COUNTERSIGN_INTERRUPT").ok().map(|text| text.parse().unwrap())
}

const ALL: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL];

#[test]
fn a_build_that_is_killed_at_any_moment_is_swept_and_done_again() {
    let place = Place::new();
    match moments() {
        Some(moments) => place.at_moments("build", &ALL, moments),
        None => place.at_moments("build", &[Signal::SIGKILL], 2),
    }
}

#[test]
fn a_check_that_ends_by_a_signal_leaves_nothing_and_a_killed_one_is_swept() {
    let place = Place::new();
    match moments() {
        Some(moments) => place.at_moments("check", &ALL, moments),
        None => {
            place.reset("check");
            place.interrupted(
                "check",
                Signal::SIGINT,
                Duration::from_millis(700),
                &place.results(),
            );
        }
    }
}

#[test]
fn a_lock_and_an_archive_that_are_killed_in_the_making_are_made_again() {
    let place = Place::new();
    let (signals, moments) = moments().map_or((&ALL[2..], 1), |moments| (&ALL[..], moments));
    for verb in ["lock", "pack"] {
        place.at_moments(verb, signals, moments);
    }
}

#[test]
fn an_environment_that_is_killed_while_it_is_put_together_is_put_together_again() {
    if !Path::new("/usr/lib/apt/apt-helper").is_file() {
        return;
    }
    let place = Place::of_packages();
    let (signals, moments) = moments().map_or((&ALL[2..], 1), |moments| (&ALL[..], moments));
    place.at_moments("lock", signals, moments);
    place.reset("env");
    place.finishes("lock");
    place.at_moments("env", signals, moments);
}

#[test]
#[ignore = "copies the machine's packages again and again: `.ci/full interrupt`"]
fn an_export_that_is_killed_is_made_again() {
    let place = Place::new();
    place.at_moments("export", &ALL, moments().unwrap_or(2).min(6));
}

/// Runs a verb where a disk of so many KiB is full, and again where it has grown.
fn on_a_full_disk(which: &str, kib: u64) {
    let place = Place::new();
    place.reset("build");
    let disk = match which {
        "cache" => "cache/countersign/inputs",
        other => other,
    };
    fs::create_dir_all(place.at(disk)).unwrap();
    let disk = place.at(disk);
    let program = env!("CARGO_BIN_EXE_countersign-builder");
    let script = format!(
        "mount -t tmpfs -o size={kib}k none {0}\n\
         {program} build . -o {1} > {2}/said 2>&1 || true\n\
         find {0} -mindepth 1 -name '.*' > {2}/left; find {2}/tmp -mindepth 1 >> {2}/left\n\
         mount -o remount,size=1g {0}\n\
         exec {program} build . -o {1}",
        disk.display(),
        place.at("out").display(),
        place.home.path().display(),
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-euc", &script]);
    command.current_dir(place.project.dir.path());
    command.env("XDG_CACHE_HOME", place.at("cache")).env("TMPDIR", place.at("tmp"));
    let again = ran(&mut command);
    let said = fs::read_to_string(place.at("said")).unwrap();
    assert_eq!(again.code, 0, "{which}: {said}\n{}", again.err);
    assert!(said.contains("No space left on device"), "{which}: {said}");
    let left = fs::read_to_string(place.at("left")).unwrap();
    assert!(left.is_empty(), "{which}: {left}");
}

#[test]
fn a_disk_that_is_full_is_told_and_what_was_begun_on_it_is_gone() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    for (which, kib) in [("cache", 4), ("tmp", 64), ("out", 64)] {
        on_a_full_disk(which, kib);
    }
}
