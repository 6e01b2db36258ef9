//! What a command left behind: adopted by this process when its parent ends, found among our children, and ended.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A process that got KILL and does not end within this time hangs in the kernel.
const LONGEST: Duration = Duration::from_secs(10);

/// Whether a new child of this process can only be a command's.
static ADOPTS: AtomicBool = AtomicBool::new(false);

pub(super) fn adopt() {
    ADOPTS.store(true, Ordering::Relaxed);
}

/// From before a command starts until all that it started has ended: while it lasts, orphans become our children.
pub(super) struct Adoption {
    before: BTreeSet<i32>,
    adopts: bool,
}

impl Adoption {
    pub(super) fn begin() -> Self {
        let adopts = ADOPTS.load(Ordering::Relaxed) && set_child_subreaper(true).is_ok();
        Self { before: if adopts { children() } else { BTreeSet::new() }, adopts }
    }

    /// Ends every child that came since, and whatever becomes our child by that. Says which would not end.
    pub(super) fn end(self) -> Vec<i32> {
        if !self.adopts {
            return Vec::new();
        }
        let deadline = Instant::now() + LONGEST;
        loop {
            let left: Vec<i32> = children().difference(&self.before).copied().collect();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            for pid in left.into_iter().map(Pid::from_raw) {
                // They are our children: nobody else has the number before we have waited for it.
                let _ended = kill(pid, Signal::SIGKILL);
                let _not_yet = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
            super::breathe();
        }
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        if self.adopts {
            let _never_fails = set_child_subreaper(false);
        }
    }
}

/// Every child of this process, ended or not.
fn children() -> BTreeSet<i32> {
    let me = std::process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| parent(*pid) == Some(me))
        .collect()
}

/// The command's name, in parentheses, may hold anything: the state and the parent follow the last of them.
fn parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
