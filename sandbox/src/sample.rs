//! What a payload's processes hold at one moment, read from outside in `/proc`.
//!
//! They are found as the descendants of the keeper's child, init: a daemon too, for init is the parent of whoever lost
//! theirs. Root may read all of it; a plain user may, because the payload's user namespace is theirs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

/// One look at a payload that runs. Processes that came and went between two looks are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its processes.
    pub processes: u64,
    /// Their threads.
    pub threads: u64,
    /// Their open descriptors; `None` where one of them could not be read.
    pub descriptors: Option<u64>,
    /// Their resident memory together, in bytes; what they share counts for each.
    pub resident: u64,
    /// Processor time since the start, user and system, also of processes that have ended since an earlier look.
    pub cpu: Duration,
    /// Bytes that they caused to be written to a disk since the start, in the same way; `None` where one of them could
    /// not be read.
    pub written: Option<u64>,
}

/// What was seen of processes until now: sums do not fall when one ends.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By process id and time of start, which no two processes share.
    seen: BTreeMap<(u32, u64), (u64, u64)>,
    unreadable: bool,
}

/// Most processes that are looked at.
const MANY: usize = 1 << 16;

/// One process as `/proc/PID/stat` has it.
struct Stat {
    parent: u32,
    ticks: u64,
    threads: u64,
    started: u64,
    pages: u64,
}

impl Known {
    /// Looks at the payload of this keeper.
    pub(crate) fn look(&mut self, keeper: u32) -> Sample {
        let all = everybody();
        let mut sample = Sample { descriptors: Some(0), ..Sample::default() };
        for (pid, stat) in payload(&all, keeper) {
            sample.processes += 1;
            sample.threads += stat.threads;
            sample.resident += stat.pages.saturating_mul(page());
            let place = PathBuf::from(format!("/proc/{pid}"));
            let open = fs::read_dir(place.join("fd")).ok();
            let open = open.map(|entries| u64::try_from(entries.count()).unwrap_or(u64::MAX));
            let written = fs::read_to_string(place.join("io")).ok();
            let written = written.as_deref().and_then(|text| field(text, "write_bytes: "));
            // Whoever ended under this look is not unreadable.
            let gone = || stat_of(pid).is_none_or(|now| now.started != stat.started);
            if open.is_none() && !gone() {
                sample.descriptors = None;
            }
            if written.is_none() && !gone() {
                self.unreadable = true;
            }
            sample.descriptors = sample.descriptors.map(|sum| sum + open.unwrap_or(0));
            let entry = self.seen.entry((pid, stat.started)).or_default();
            *entry = (entry.0.max(stat.ticks), entry.1.max(written.unwrap_or(0)));
        }
        let sum = |of: fn(&(u64, u64)) -> u64| self.seen.values().map(of).sum::<u64>();
        let ticks = sum(|(ticks, _)| *ticks).saturating_mul(1_000_000);
        sample.cpu = Duration::from_micros(ticks / ticks_a_second());
        sample.written = (!self.unreadable).then(|| sum(|(_, written)| *written));
        sample
    }
}

/// The processes below the children of `keeper`: those are inits, and what is below them is the payload.
fn payload(all: &BTreeMap<u32, Stat>, keeper: u32) -> Vec<(u32, &Stat)> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (pid, stat) in all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let below = |pid: u32| children.get(&pid).into_iter().flatten().copied();
    let mut open: Vec<u32> = below(keeper).flat_map(below).collect();
    let mut found = Vec::new();
    while let Some(pid) = open.pop() {
        // A parent is older than its children, but a process id may be used again between two reads.
        if found.len() >= all.len() {
            break;
        }
        found.extend(all.get(&pid).map(|stat| (pid, stat)));
        open.extend(below(pid));
    }
    found
}

fn everybody() -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, stat_of(pid)?)))
        .take(MANY)
        .collect()
}

/// `proc_pid_stat(5)`. The name, in parentheses, may hold anything.
fn stat_of(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    // The first of them is the third field.
    let number = |field: usize| words.get(field - 3)?.trim_end().parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        ticks: number(14)?.saturating_add(number(15)?),
        threads: number(20)?,
        started: number(22)?,
        pages: number(24)?,
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn page() -> u64 {
    asked(SysconfVar::PAGE_SIZE, 4096)
}

fn ticks_a_second() -> u64 {
    asked(SysconfVar::CLK_TCK, 100)
}

fn asked(what: SysconfVar, usual: u64) -> u64 {
    let told = sysconf(what).ok().flatten().and_then(|told| u64::try_from(told).ok());
    told.filter(|told| *told > 0).unwrap_or(usual)
}
