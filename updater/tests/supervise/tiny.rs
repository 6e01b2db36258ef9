//! A node directory with the tiny node in it, its supervisor, and clients that write all the while.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use countersign_metadata::{NodeSpec, Sha256};
use countersign_updater::Home;
use countersign_updater::generation::{self, Generation, Launch};
use countersign_updater::supervise::{Client, Phase, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clients::{CAP, pause, request, until};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-updater");

/// An installed node.
pub(crate) struct Tiny {
    _dir: tempfile::TempDir,
    pub(crate) home: Home,
    pub(crate) address: SocketAddr,
}

fn example() -> PathBuf {
    let path = Path::new(PROGRAM).with_file_name("examples").join("tiny_node");
    assert!(path.is_file(), "build it: cargo build -p countersign-updater --examples");
    path
}

impl Tiny {
    /// Version 1.0.0, run with these flags, is generation 1 and current.
    pub(crate) fn new(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        home.finish("product = \"tiny\"\nrepositories = [\"file:///nowhere\"]\n").unwrap();
        fs::create_dir(home.state(1)).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let this = Self { _dir: dir, home, address: free };
        this.generation(1, "1.0.0", flags);
        this.point_to(1);
        this
    }

    /// Adds a generation of the tiny node.
    pub(crate) fn generation(&self, number: u64, version: &str, flags: &[&str]) -> u64 {
        let binary = Sha256::of(version.as_bytes());
        let bin = self.home.stored(&binary).join("tree/bin");
        fs::create_dir_all(&bin).unwrap();
        if !bin.join("node").exists() {
            fs::copy(example(), bin.join("node")).unwrap();
        }
        self.write(number, version, binary, flags, "http");
        number
    }

    /// Adds a generation that calls its socket something else.
    pub(crate) fn generation_with_socket(&self, number: u64, version: &str, name: &str) -> u64 {
        let first = Generation::read(&self.home, 1).unwrap();
        self.write(number, version, first.binary, &[], name);
        number
    }

    /// Adds a generation whose program is not there.
    pub(crate) fn broken_generation(&self, number: u64) -> u64 {
        let binary = Sha256::of(b"broken");
        fs::create_dir_all(self.home.stored(&binary).join("tree")).unwrap();
        self.write(number, "2.0.0", binary, &[], "http");
        number
    }

    fn write(&self, number: u64, version: &str, binary: Sha256, flags: &[&str], socket: &str) {
        let words: Vec<_> = ["bin/node", "{state}"].iter().chain(flags).collect();
        let node = serde_json::json!({
            "command": words,
            "listen": { socket: self.address },
            "stop-grace": 1,
            // As flags of its own: what a release declares beside how it behaves.
            "overlap": flags.contains(&"--overlap"),
            "locks": if flags.contains(&"--lock") { vec!["LOCK"] } else { vec![] },
        });
        let node: NodeSpec = serde_json::from_value(node).unwrap();
        node.check().unwrap();
        let launch = Launch::new(&node, &BTreeMap::new());
        let (product, version) = ("tiny".parse().unwrap(), version.parse().unwrap());
        let areas = BTreeMap::new();
        let (held, protocol) = (BTreeMap::new(), None);
        Generation { number, product, version, binary, state: 1, areas, held, protocol, launch }
            .write(&self.home)
            .unwrap();
    }

    pub(crate) fn point_to(&self, number: u64) {
        generation::switch_to(&self.home, number).unwrap();
    }

    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("supervise").args(flags).arg(self.home.path());
        command
    }

    /// Starts a supervisor and waits until the node is ready, or as ready as its flags let it be.
    pub(crate) fn supervise(&self, flags: &[&str]) -> Supervisor {
        let supervisor = self.begin(flags);
        self.until_status(|status| status.phase == Phase::Ready);
        supervisor
    }

    /// Starts a supervisor and waits for nothing.
    pub(crate) fn begin(&self, flags: &[&str]) -> Supervisor {
        Supervisor(self.command(flags).stdout(Stdio::null()).spawn().unwrap())
    }

    /// The same words, for a program that starts another.
    pub(crate) fn words_of_command(&self, flags: &[&str]) -> Vec<std::ffi::OsString> {
        let command = self.command(flags);
        let words = command.get_args().map(ToOwned::to_owned);
        std::iter::once(command.get_program().to_owned()).chain(words).collect()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.home)
    }

    pub(crate) fn until_status(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        until(|| {
            last = self.client().status().ok();
            last.as_ref().is_some_and(&wanted)
        });
        last.unwrap()
    }

    /// The words that the state holds.
    pub(crate) fn words(&self) -> Vec<String> {
        let text = fs::read_to_string(self.home.state(1).join("words")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// A supervisor's process. Dropped, it and its node are gone.
pub(crate) struct Supervisor(pub(crate) Child);

impl Supervisor {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) {
        until(|| self.0.try_wait().unwrap().is_some());
    }

    /// TERM, and the node has ended with it.
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        self.wait();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::SIGTERM);
            let deadline = Instant::now() + CAP;
            while self.0.try_wait().is_ok_and(|e| e.is_none()) && Instant::now() < deadline {
                pause();
            }
            let _ended = self.0.kill();
        }
    }
}

pub(crate) fn get(address: SocketAddr) -> io::Result<()> {
    request(address, "GET /node/version")
}
