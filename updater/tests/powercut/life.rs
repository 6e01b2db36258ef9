//! One life of a node on the recorded disk: the update that is recorded, and the recoveries after each power cut.
//!
//! Each runs in a process with its own mounts, process numbers and network, so that whatever is left ends with it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use countersign_updater::generation::Generation;
use countersign_updater::machine::{Ledger, journal};
use countersign_updater::supervise::{Client, Phase};
use countersign_updater::{Home, doctor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::clients::{put, until};
use crate::disk::{self, Cut, Image};
use crate::mounted::{Mounted, Recorded, must};
use crate::{fixture, program};

/// A word that was acknowledged, and how many operations the disk had seen by then.
type Acknowledged = (String, usize);

/// What a process is told to do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Where image, log and words are kept, and where the disk is mounted.
    pub(crate) directory: PathBuf,
    pub(crate) repository: String,
    pub(crate) root: PathBuf,
    pub(crate) address: SocketAddr,
    /// `ext4` or `xfs`.
    pub(crate) file_system: String,
    pub(crate) scene: Scene,
    pub(crate) task: Task,
}

/// What becomes of 2.0.0, and so where the node must come to rest, with or without a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scene {
    /// It is good.
    Forward,
    /// It is sick in the live node: its migration is reversed.
    Back,
    /// It is good, but the node does not wait for its disk: the control, which must lose words.
    Careless,
}

impl Scene {
    /// Flags of both versions of the node.
    pub(crate) fn flags(self) -> [&'static str; 2] {
        match self {
            Self::Forward => ["", ""],
            Self::Back => ["", "sick-live"],
            Self::Careless => ["careless", "careless"],
        }
    }

    fn rests(self) -> (&'static str, &'static str) {
        match self {
            Self::Forward | Self::Careless => ("Committed", "2.0.0"),
            Self::Back => ("RolledBack", "1.0.0"),
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Installs 1.0.0, and records the update to 2.0.0.
    Record,
    /// Goes on after a power cut, and, where a number says so, after another one inside that recovery.
    GoOn { n: usize, cut: Cut, again: Option<u64> },
}

impl Order {
    pub(crate) fn obey(&self) {
        match self.task {
            Task::Record => self.record(),
            Task::GoOn { n, cut, again } => self.go_on(n, cut, again),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn mount(&self, recorded: &Recorded, format: bool) -> Mounted {
        Mounted::new(&self.directory, recorded, &self.file_system, format)
    }

    fn record(&self) {
        let recorded = Recorded::default();
        let mounted = self.mount(&recorded, true);
        self.install(mounted.path());
        drop(Running::start(&home(&mounted)));
        drop(mounted);
        let (base, _) = recorded.into_parts();
        base.save(&self.file("base")).unwrap();

        let recorded = Recorded::new(base);
        let mounted = self.mount(&recorded, false);
        let running = Running::start(&home(&mounted));
        let (end, ended) = mpsc::channel::<()>();
        let (address, disk) = (self.address, recorded.clone());
        let client = std::thread::spawn(move || {
            let mut words: Vec<Acknowledged> = Vec::new();
            for n in 0.. {
                // Slowly: it is the updater's writes that are to be cut.
                match ended.recv_timeout(Duration::from_millis(150)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => break,
                }
                let word = format!("word-{n}");
                if put(address, &word).is_ok() {
                    words.push((word, disk.operations()));
                }
            }
            words
        });
        assert_eq!(run_agent(&home(&mounted)), self.scene.rests().0);
        drop(end);
        let words = client.join().unwrap();
        drop(running);
        drop(mounted);
        let (_, log) = recorded.into_parts();
        disk::save_log(&log, &self.file("log")).unwrap();
        fs::write(self.file("words"), serde_json::to_vec(&words).unwrap()).unwrap();
    }

    fn install(&self, mounted: &Path) {
        let node = mounted.join("node");
        must(
            Command::new(program())
                .args(["install", "--repository", &self.repository, "--root"])
                .arg(&self.root)
                .args(["--product", fixture::PRODUCT, "--version", "1.0.0"])
                .arg(&node),
        );
        let memory = if doctor::memory_limit_missing().is_some() { "none" } else { "256MiB" };
        let text = format!(
            "product = \"{}\"\nrepositories = [\"{}\"]\ndelay = \"0s..100ms\"\n\
             check-every = \"100ms\"\nfree-space = \"1MiB\"\n\
             [shadow]\nfor = \"50ms\"\nready = \"20s\"\nmemory = \"{memory}\"\n\
             [probation]\nfor = \"200ms\"\n",
            fixture::PRODUCT,
            self.repository
        );
        let config = Home::open(&node).unwrap().config_file();
        fs::write(&config, text).unwrap();
        fs::File::open(&config).unwrap().sync_all().unwrap();
    }

    fn go_on(&self, n: usize, cut: Cut, again: Option<u64>) {
        let base = Image::load(&self.file("base")).unwrap();
        let log = disk::load_log(&self.file("log")).unwrap();
        let words = fs::read(self.file("words")).unwrap();
        let mut words: Vec<Acknowledged> = serde_json::from_slice(&words).unwrap();
        words.retain(|(_, operations)| *operations <= n);

        let left = base.after(&log, n, cut);
        let recorded = Recorded::new(left.clone());
        self.recover(&recorded, &words);
        if let Some(seed) = again {
            let (_, log) = recorded.into_parts();
            let n = usize::try_from(seed).unwrap() % log.len();
            self.recover(&Recorded::new(left.after(&log, n, Cut::Mixed(seed))), &words);
        }
    }

    /// Power is back: supervisor and agent start. The node must come to where it rests, with every word.
    fn recover(&self, recorded: &Recorded, words: &[Acknowledged]) {
        let mounted = self.mount(recorded, false);
        let home = home(&mounted);
        let running = Running::start_unready(&home);
        let (state, version) = self.scene.rests();
        assert_eq!(run_agent(&home), state);
        running.until_ready();
        put(self.address, "after").unwrap();
        let current = Generation::current(&home).unwrap().unwrap();
        assert_eq!(current.version.to_string(), version);
        let text = fs::read_to_string(current.state_dir(&home).join("words")).unwrap();
        let there: Vec<_> = text.lines().map(|line| line.trim_start_matches("2:")).collect();
        for (word, _) in words {
            assert!(there.contains(&word.as_str()), "{word} was acknowledged and is gone: {text}");
        }
        assert!(there.contains(&"after"));
        assert!(home.state(1).is_dir(), "a data directory is gone");
    }
}

fn home(mounted: &Mounted) -> Home {
    Home::open(&mounted.path().join("node")).unwrap()
}

/// Runs the agent until nothing is under way; the state in which it rests.
fn run_agent(home: &Home) -> String {
    let output = Command::new(program())
        .args(["run", "--until-idle", "--poll", "50ms"])
        .arg(home.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    // 1 says that a release was rolled back.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{told}");
    let records = journal::read(&home.journal()).unwrap().records;
    Ledger::of(&records).state.name().to_owned()
}

/// A supervisor with its node. Dropped, both have ended in good order.
struct Running(Child, Client);

impl Running {
    fn start(home: &Home) -> Self {
        let this = Self::start_unready(home);
        this.until_ready();
        this
    }

    /// After a power cut in the middle of a migration nothing may be started before the agent has seen to it.
    fn start_unready(home: &Home) -> Self {
        let mut supervise = Command::new(program());
        supervise.arg("supervise").arg(home.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let this = Self(supervise.spawn().unwrap(), Client::new(home));
        until(|| this.1.status().is_ok());
        this
    }

    fn until_ready(&self) {
        until(|| self.1.status().is_ok_and(|status| status.phase == Phase::Ready));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}
