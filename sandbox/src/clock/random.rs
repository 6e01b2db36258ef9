//! Random bytes that are the same each time: a stream for each process of the tree.
//!
//! A process is known by its ancestors and its command line, not by its number, so that parallel builds, whose
//! processes start in another order each time, get the same bytes all the same. Two starts of one command by one
//! parent get different ones.

use std::collections::HashMap;
use std::fs;
use std::io;

use nix::unistd::Pid;

use super::answer::give;
use super::registers::Call;

/// Most bytes of one answer; a program that wants more asks again, as it must.
const MAX_ANSWER: u64 = 1 << 20;

/// A stream of numbers (SplitMix64): good mixing, and no secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream that this number decides.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// The next bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn join(one: u64, other: u64) -> u64 {
    mix(mix(one).wrapping_add(other).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// One process.
#[derive(Debug)]
struct Process {
    /// Who it is.
    name: u64,
    /// Who its parent was; itself once it has executed a program.
    parent: u64,
    children: u64,
    stream: Stream,
}

/// The streams of all processes.
#[derive(Debug)]
pub(super) struct Held {
    seed: u64,
    processes: HashMap<Pid, Process>,
    /// How often a command was executed by a process, by both of their hashes.
    executed: HashMap<u64, u64>,
}

impl Held {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, processes: HashMap::new(), executed: HashMap::new() }
    }

    /// A process or thread has begun.
    pub(super) fn born(&mut self, pid: Pid) {
        if !self.processes.contains_key(&pid) {
            self.learn(pid);
        }
    }

    /// A process has ended, or a thread.
    pub(super) fn gone(&mut self, pid: Pid) {
        self.processes.remove(&pid);
    }

    /// A process executed a program: the bytes that it starts with.
    pub(super) fn executed(&mut self, pid: Pid) -> Vec<u8> {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let base = self.of(pid).parent;
        let words = command
            .iter()
            .fold(base, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let what = join(base, words);
        let times = self.executed.entry(what).or_default();
        *times += 1;
        let name = join(what, *times);
        let mut stream = Stream::new(join(self.seed, name));
        let first = stream.bytes(16);
        self.processes.insert(pid, Process { name, parent: name, children: 0, stream });
        first
    }

    /// The answer to `getrandom`.
    pub(super) fn answer(&mut self, call: &Call) -> io::Result<Option<i64>> {
        if call.number() != libc::SYS_getrandom {
            return Ok(None);
        }
        let length = call.argument(1).min(MAX_ANSWER);
        let bytes = self.of(call.pid()).stream.bytes(length as usize);
        Ok(Some(give(call, 0, bytes)?.unwrap_or(length as i64)))
    }

    /// The process that a thread belongs to.
    fn of(&mut self, thread: Pid) -> &mut Process {
        let pid = if self.processes.contains_key(&thread) { thread } else { self.learn(thread) };
        let seed = self.seed;
        self.processes.entry(pid).or_insert_with(|| Process::orphan(seed))
    }

    /// Finds out whose thread this is and, for a new process, who its parent is. The kernel says so in `/proc`,
    /// in whatever order the stops of parent and child arrive.
    fn learn(&mut self, thread: Pid) -> Pid {
        let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
        let number = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|text| text.trim().parse().ok()).map(Pid::from_raw)
        };
        let pid = number("Tgid:").unwrap_or(thread);
        if self.processes.contains_key(&pid) {
            return pid;
        }
        let parent = number("PPid:").and_then(|parent| self.processes.get_mut(&parent));
        let process = match parent {
            Some(parent) => {
                parent.children += 1;
                let name = join(parent.name, parent.children);
                let stream = Stream::new(join(self.seed, name));
                Process { name, parent: parent.name, children: 0, stream }
            }
            None => Process::orphan(self.seed),
        };
        self.processes.insert(pid, process);
        pid
    }
}

impl Process {
    /// The first one, or one whose parent is gone.
    fn orphan(seed: u64) -> Self {
        Self { name: 0, parent: 0, children: 0, stream: Stream::new(join(seed, 0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_each_time_and_another_for_another_seed() {
        assert_eq!(Stream::new(7).bytes(100), Stream::new(7).bytes(100));
        assert_ne!(Stream::new(7).bytes(100), Stream::new(8).bytes(100));
        // The first number of the published generator for seed 0.
        assert_eq!(Stream::new(0).next(), 0xe220_a839_7b1d_cdaf);
    }
}
