//! Where an attempt is made: in our sandbox, in bubblewrap's, or nowhere in particular.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::IntoRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign_sandbox::{Exit, Limits, Mount, Network, Sandbox};

use crate::attempts::Outcome::{self, Blocked, NotHere, Through};
use crate::attempts::{Attempt, TOKEN};
use crate::live::Live;

/// Which walls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walls {
    Ours,
    Bwrap,
    None,
}

/// Where this program, what it is given and what it may write are, inside.
const PROGRAM: &str = "/escape";
const GIVEN: &str = "/given";
const WORK: &str = "/work";
const SET_UID: &str = "/set-uid";
/// What bounds the directory in memory, in ours and in bubblewrap's.
const TMP_BYTES: u64 = 32 << 20;

/// A live node, and what attempts are given beside.
pub(crate) struct World {
    live: Live,
    given: PathBuf,
    scratch: PathBuf,
    memory: bool,
    /// A program with a set-user-id bit, of somebody else.
    set_uid: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let at = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            open_to_all(&path);
            path
        };
        let (state, given, scratch) = (at("state"), at("given"), at("scratch"));
        fs::write(given.join("caller"), TOKEN).unwrap();
        // Left open for everybody who is started from here.
        for path in [given.join("caller"), given.clone()] {
            use nix::fcntl::{OFlag, open};
            _ = open(&path, OFlag::O_RDONLY, nix::sys::stat::Mode::empty()).unwrap().into_raw_fd();
        }
        let set_uid = std::env::var_os("ESCAPE_SET_UID").map(PathBuf::from).or_else(|| {
            let own = dir.path().join("set-uid");
            make_set_uid(&own, 12345).then_some(own)
        });
        let memory = countersign_sandbox::capabilities()
            .iter()
            .any(|one| one.name == "memory limit" && one.missing.is_none());
        Self { live: Live::start(&state), given, scratch, memory, set_uid, _dir: dir }
    }

    /// Makes an attempt.
    pub(crate) fn make(&self, attempt: &Attempt, walls: Walls) -> Outcome {
        if attempt.name.starts_with("memory") && walls == Walls::Ours && !self.memory {
            return NotHere("no control group is delegated to this user".to_owned());
        }
        let word = format!("left-{}-{}", attempt.name, std::process::id());
        let work = self.scratch.join(attempt.name);
        fs::create_dir(&work).unwrap();
        let outcome = match walls {
            Walls::Ours => self.ours(attempt, &work, &word),
            Walls::Bwrap => {
                run(self.bwrap(&work), &self.words(attempt, WORK, "/tmp", SET_UID, &word))
            }
            Walls::None => {
                let tmp = work.join("tmp");
                fs::create_dir(&tmp).unwrap();
                let mut bare = Command::new("/proc/self/exe");
                bare.current_dir(&work);
                let set_uid = self.set_uid.clone().unwrap_or_default().display().to_string();
                let (work, tmp) = (work.display().to_string(), tmp.display().to_string());
                run(bare, &self.words(attempt, &work, &tmp, &set_uid, &word))
            }
        };
        _ = fs::remove_dir_all(&work);
        // Ours has promised that nothing is left when it returns; the others may take a moment.
        let patience = if walls == Walls::Ours { 0 } else { 100 };
        let left = (0..patience).find(|_| {
            std::thread::sleep(Duration::from_millis(5));
            processes_with(&word).is_empty()
        });
        match (outcome, if left.is_some() { 0 } else { end_left(&word) }) {
            (Through(_), 0) if attempt.name == "daemon" => {
                Blocked("it ended with the first process".to_owned())
            }
            (outcome, _) => outcome,
        }
    }

    fn words(
        &self,
        attempt: &Attempt,
        work: &str,
        tmp: &str,
        set_uid: &str,
        word: &str,
    ) -> Vec<String> {
        let mut words = vec!["attempt".to_owned(), attempt.name.to_owned()];
        words.extend(self.live.words.iter().cloned());
        words.extend([format!("work={work}"), format!("tmp={tmp}"), format!("word={word}")]);
        if self.set_uid.is_some() {
            words.push(format!("set-uid={set_uid}"));
        }
        words
    }

    fn ours(&self, attempt: &Attempt, work: &Path, word: &str) -> Outcome {
        let mut command = vec![OsString::from(PROGRAM)];
        command
            .extend(self.words(attempt, WORK, "/tmp", SET_UID, word).into_iter().map(Into::into));
        let limits = Limits {
            memory: self.memory.then_some(64 << 20),
            processes: 64,
            file_bytes: 1 << 30,
            open_files: 256,
            wall: Some(Duration::from_secs(60)),
        };
        let mut sandbox = Sandbox::new(command)
            .limits(limits)
            .given_programs()
            .network(Network::Sinkhole)
            .mount(Mount::ReadOnly { from: std::env::current_exe().unwrap(), to: PROGRAM.into() })
            .mount(Mount::ReadOnly { from: self.given.clone(), to: GIVEN.into() })
            .mount(Mount::Writable { from: work.to_owned(), to: WORK.into() })
            .mount(Mount::Tmpfs { to: "/tmp".into(), bytes: TMP_BYTES, inodes: 2000 });
        if let Some(from) = self.set_uid.clone() {
            sandbox = sandbox.mount(Mount::ReadOnly { from, to: SET_UID.into() });
        }
        for (name, target) in system() {
            sandbox = sandbox.mount(match target {
                Some(target) => Mount::Link { to: name, target },
                None => Mount::ReadOnly { from: name.clone(), to: name },
            });
        }
        let log = work.with_extension("log");
        let ended = sandbox.output(File::create(&log).unwrap(), 1 << 16).run().unwrap();
        let (code, signal) = match ended.exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
            Exit::WallTime => (None, None),
        };
        told(&fs::read(&log).unwrap(), code, signal)
    }

    fn bwrap(&self, work: &Path) -> Command {
        let mut command = Command::new("bwrap");
        command
            .args(["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"])
            .args(["--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev"])
            .args(["--size", &TMP_BYTES.to_string(), "--tmpfs", "/tmp"]);
        let current = std::env::current_exe().unwrap();
        command.arg("--ro-bind").arg(current).arg(PROGRAM);
        command.arg("--ro-bind").arg(&self.given).arg(GIVEN).arg("--bind").arg(work).arg(WORK);
        if let Some(from) = &self.set_uid {
            command.arg("--ro-bind").arg(from).arg(SET_UID);
        }
        for (name, target) in system() {
            match target {
                Some(target) => command.arg("--symlink").arg(target).arg(name),
                None => command.arg("--ro-bind").arg(&name).arg(&name),
            };
        }
        command.args(["--", PROGRAM]);
        command
    }

    pub(crate) fn live_is_alive(&mut self) -> bool {
        self.live.is_alive()
    }
}

/// What a program of the machine needs, and where it is only a link.
fn system() -> Vec<(PathBuf, Option<PathBuf>)> {
    let names = ["/usr", "/lib", "/lib64", "/bin"].map(PathBuf::from);
    let there = names.into_iter().filter(|name| name.exists());
    there.map(|name| (name.clone(), fs::read_link(&name).ok())).collect()
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A copy of this program that runs as this user, whoever starts it. Only root can make one for others.
pub(crate) fn make_set_uid(path: &Path, user: u32) -> bool {
    use std::os::unix::fs::{PermissionsExt, chown};
    let made = fs::copy("/proc/self/exe", path)
        .and_then(|_| chown(path, Some(user), Some(user)))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o6755)));
    if made.is_err() {
        _ = fs::remove_file(path);
    }
    made.is_ok()
}

/// Runs an attempt outside of our walls, at a terminal.
fn run(mut command: Command, words: &[String]) -> Outcome {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let output = command
        .args(words)
        .env("SECRET", TOKEN)
        .stdin(terminal.slave)
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) => told(&output.stdout, output.status.code(), output.status.signal()),
        Err(error) => NotHere(error.to_string()),
    }
}

/// What an attempt said. Who is killed is blocked; a shell's way of telling a signal is bubblewrap's too.
fn told(said: &[u8], code: Option<i32>, signal: Option<i32>) -> Outcome {
    let text = String::from_utf8_lossy(said).trim().to_owned();
    let signal = signal.or(code.filter(|code| *code > 128).map(|code| code - 128));
    match (code, signal) {
        (_, Some(libc::SIGSYS)) => Blocked("killed by the filter (SIGSYS)".to_owned()),
        (_, Some(libc::SIGKILL)) => Blocked("killed (SIGKILL)".to_owned()),
        (_, Some(libc::SIGSEGV)) => NotHere("this kernel has no such call (SIGSEGV)".to_owned()),
        (Some(BLOCKED), _) => Blocked(text),
        (Some(THROUGH), _) => Through(text),
        (Some(NOT_HERE), _) => NotHere(text),
        other => panic!("an attempt broke: {other:?} {text}"),
    }
}

/// Exit codes of an attempt.
pub(crate) const BLOCKED: i32 = 40;
pub(crate) const THROUGH: i32 = 41;
pub(crate) const NOT_HERE: i32 = 42;

/// The processes that were left with this word.
fn processes_with(word: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_string_lossy().parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).ends_with(&format!("hang\0{word}\0")).then_some(pid)
    });
    pids.collect()
}

/// Ends them, and says how many there were.
fn end_left(word: &str) -> usize {
    let pids = processes_with(word);
    for pid in &pids {
        _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::SIGKILL);
    }
    pids.len()
}
