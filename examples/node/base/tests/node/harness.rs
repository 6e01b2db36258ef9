//! Starts the node as a supervisor does: the listening socket is ours, readiness is a message.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The release in base/, which is the newest of the harmless ones.
pub(crate) const NODE: &str = env!("CARGO_BIN_EXE_examplenode");

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A directory of one test, removed after it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A listening socket that outlives the nodes behind it.
pub(crate) struct Port(TcpListener);

impl Port {
    pub(crate) fn open() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// A command with the socket as descriptor 3, by way of standard input, and the variables that announce it.
    pub(crate) fn pass(&self, program: &str, variables: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("exec 3<&0 0</dev/null; export {variables}; exec \"$@\""))
            .args(["sh", program])
            .stdin(Stdio::from(OwnedFd::from(self.0.try_clone().unwrap())));
        command
    }
}

/// A running node, killed if the test ends before it.
pub(crate) struct Node(Child);

impl Node {
    /// Starts a program and returns when it has said that it is ready.
    pub(crate) fn start(program: &str, state: &Path, port: &Port) -> Self {
        let name = format!(
            "examplenode-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let address = UnixAddress::from_abstract_name(&name).unwrap();
        let notify = UnixDatagram::bind_addr(&address).unwrap();
        let mut command = port.pass(program, "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http");
        command.env("NOTIFY_SOCKET", format!("@{name}"));
        let child = command.args(["serve", "--state"]).arg(state).spawn().unwrap();
        let node = Self(child);
        wait_ready(&notify);
        node
    }

    pub(crate) fn term(&self) {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.0.id())).status();
        assert!(kill.unwrap().success());
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    pub(crate) fn stop(self) {
        self.term();
        assert!(self.wait().success());
    }

    /// SIGKILL, and back when it is dead.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

pub(crate) fn wait_ready(notify: &UnixDatagram) {
    notify.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut message = [0; 64];
    let length = notify.recv(&mut message).expect("the node says that it is ready");
    assert_eq!(&message[..length], b"READY=1");
}

/// Waits until a condition holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Runs a verb to its end.
pub(crate) fn run(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).stdin(Stdio::null()).output().unwrap()
}

/// Runs a verb that is refused, and returns the sentence.
pub(crate) fn refused(program: &str, code: i32, words: &[&str]) -> String {
    let output = run(program, words);
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{sentence}");
    let destructive = ["erase", "delete", "remove", "wipe", "rm "];
    assert!(!destructive.iter().any(|word| sentence.contains(word)), "{sentence}");
    sentence
}

/// The program of release 1.0.0, laid out and built once.
pub(crate) fn first_release() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = tmp.join(format!("1.0.0-{}", std::process::id()));
        let laid_out = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../source"))
            .arg("1.0.0")
            .arg(&source)
            .status();
        assert!(laid_out.unwrap().success());
        let target = tmp.join("1.0.0-target");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--target-dir"])
            .arg(&target)
            .current_dir(&source)
            .status();
        assert!(built.unwrap().success());
        std::fs::remove_dir_all(&source).unwrap();
        target.join("debug/examplenode").to_str().unwrap().to_owned()
    })
}
