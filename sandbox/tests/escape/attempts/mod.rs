//! The attempts: small hostile programs, each with a name. What cannot be undone is never done: a door that opens is through.

mod bombs;
mod doors;
mod files;
mod machine;
mod memory;
mod processes;
mod programs;
mod sockets;
mod spaces;

use std::collections::BTreeMap;
use std::io;

use nix::errno::Errno;

/// What came of an attempt, with a sentence.
pub(crate) enum Outcome {
    /// A wall held.
    Blocked(String),
    /// It got through.
    Through(String),
    /// It cannot be tried here.
    NotHere(String),
}
use Outcome::{Blocked, NotHere, Through};

/// One small hostile program.
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) run: fn(&Given) -> Outcome,
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Attempt> {
    let groups = [
        ("processes", processes::ALL),
        ("files", files::ALL),
        ("kernel settings", machine::ALL),
        ("mounts and namespaces", spaces::ALL),
        ("keys, memory and queues", memory::ALL),
        ("sockets", sockets::ALL),
        ("doors of the kernel", doors::ALL),
        ("programs", programs::ALL),
        ("bombs", bombs::ALL),
    ];
    groups.into_iter().flat_map(|(group, all)| {
        all.iter().map(move |(name, run)| Attempt { name, group, run: *run })
    })
}

type Named = (&'static str, fn(&Given) -> Outcome);

/// What the attempt is told of the world outside, as an attacker may know or guess: `key=value` words.
pub(crate) struct Given(BTreeMap<String, String>);

impl Given {
    pub(crate) fn read(words: &[String]) -> Self {
        let pairs = words.iter().filter_map(|word| word.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default()
    }

    /// A number; one that no process, key or port has where nothing was told.
    fn number(&self, key: &str) -> i64 {
        self.text(key).parse().unwrap_or(-1)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.number("pid")).unwrap()
    }
}

/// What the live node alone knows.
pub(crate) const TOKEN: &str = "what-only-the-live-node-knows";

/// Done, or not.
fn done<T>(result: io::Result<T>, what: &str) -> Outcome {
    match result {
        Ok(_) => Through(what.to_owned()),
        Err(error) => Blocked(error.to_string()),
    }
}

/// As [`done`], and an error that comes only after the kernel has found the right is as good as done.
fn reached<T>(result: io::Result<T>, after: &[Errno], what: &str) -> Outcome {
    match result {
        Err(error) if after.iter().any(|errno| error.raw_os_error() == Some(*errno as i32)) => {
            Through(format!("{what} ({error})"))
        }
        other => done(other, what),
    }
}

/// Whether what was read is the live node's.
fn read<T: AsRef<[u8]>>(result: io::Result<T>, what: &str) -> Outcome {
    match result {
        Ok(bytes) if bytes.as_ref().windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()) => {
            Through(what.to_owned())
        }
        Ok(_) => Blocked("it is another one".to_owned()),
        Err(error) => Blocked(error.to_string()),
    }
}

/// The first that gets through, else the last.
fn any(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    let mut last = NotHere("nothing to try".to_owned());
    for outcome in outcomes {
        if matches!(outcome, Through(_)) {
            return outcome;
        }
        last = outcome;
    }
    last
}

/// A system call as it is.
fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> io::Result<i64> {
    let mut all = [0_usize; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the callers pass numbers, and addresses of live objects that are as large as the call expects.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// What the kernel returned as an error of Rust's.
fn errno<T>(result: nix::Result<T>) -> io::Result<T> {
    result.map_err(Into::into)
}
