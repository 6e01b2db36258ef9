//! A node that outlived its supervisor: found by pid and start time, or by the state's lock, which it holds; stopped
//! before another one is started.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::process::{self, Stat};
use super::{Limits, SuperviseError};
use crate::Home;
use crate::durable::{self, DiskError};

/// `NODE/run/node.json`: the process that runs, and what the next supervisor must know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct NodeFile {
    pub(super) pid: i32,
    /// Clock ticks after boot.
    pub(super) start: u64,
    /// The boot in which pid and start mean something.
    pub(super) boot: String,
    pub(super) generation: u64,
    pub(super) crashes: u32,
    pub(super) stop_grace: u32,
}

fn path(home: &Home) -> PathBuf {
    home.run().join("node.json")
}

impl NodeFile {
    pub(super) fn write(&self, home: &Home) -> Result<(), DiskError> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| DiskError::new("write", &path(home), error.into()))?;
        durable::write_private(&path(home), &bytes)
    }

    /// Whether its numbers still name what was noted.
    fn is_ours(&self) -> bool {
        // While any member of the group lives, its number names no other group.
        let other = process::stat(self.pid).is_some_and(|stat| stat.start != self.start);
        self.boot == process::boot_id() && !other
    }

    /// What an earlier supervisor left; one that cannot be read is as good as none.
    pub(super) fn read(home: &Home) -> Option<Self> {
        let bytes = durable::read(&path(home), 1 << 16).ok()??;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Stops what an earlier supervisor left running, with all its processes: what was noted, and whoever holds the
/// state's lock as a node does. A note may be missing: it was written to a disk that can be full. TERM, `grace`, and
/// KILL only after the operator's limit.
pub(super) fn stop(
    home: &Home,
    note: Option<&NodeFile>,
    grace: u32,
    limits: Limits,
) -> Result<(), SuperviseError> {
    let began = Instant::now();
    let mut told: Vec<Stat> = Vec::new();
    loop {
        let processes = left(home, note);
        let Some(first) = processes.first() else { return Ok(()) };
        let fresh: Vec<_> = processes.iter().filter(|p| !is_in(&told, p)).cloned().collect();
        process::signal(&fresh, Signal::SIGTERM);
        process::signal(&fresh, Signal::SIGCONT);
        told.extend(fresh);
        match limits.kill_after {
            Some(limit) if began.elapsed() > limit => {
                process::signal(&processes, Signal::SIGKILL);
            }
            None if began.elapsed() > Duration::from_secs(u64::from(grace) * 10) => {
                return Err(SuperviseError::Orphan { pid: first.pid });
            }
            _ => {}
        }
        process::breathe();
    }
}

/// Set for every migration: what a dead agent's migration left behind is told by it from everybody else.
pub const MIGRATION: &str = "COUNTERSIGN_MIGRATION_OF";

/// Kills what a migration of an agent that died has left holding the state's lock, once it is older than a migration may be:
/// nobody else would ever end it. Migrations may be killed at any point.
pub fn end_overdue_migrations(home: &Home, limit: Duration) {
    let mark = [MIGRATION.as_bytes(), b"=", home.path().as_os_str().as_bytes()].concat();
    let overdue = |one: &Stat| {
        process::has_variable(one.pid, &mark) && process::age(one).is_some_and(|age| age >= limit)
    };
    let left: Vec<_> = process::holders(&home.state_lock()).into_iter().filter(overdue).collect();
    process::signal(&left, Signal::SIGKILL);
}

fn is_in(told: &[Stat], process: &Stat) -> bool {
    told.iter().any(|known| (known.pid, known.start) == (process.pid, process.start))
}

fn left(home: &Home, note: Option<&NodeFile>) -> Vec<Stat> {
    let noted = note.filter(|node| node.is_ours()).map(|node| (node.pid, node.pid));
    let socket = [b"NOTIFY_SOCKET=", home.run().as_os_str().as_bytes(), b"/notify-"].concat();
    let holders = process::holders(&home.state_lock()).into_iter();
    // The agent holds that lock too, and its migrations: only a node was given a socket of the supervisor's.
    let nodes = holders.filter(|holder| process::has_variable(holder.pid, &socket));
    let roots = noted.into_iter().chain(nodes.map(|node| (node.pid, node.group)));
    let mut found: Vec<Stat> = Vec::new();
    for (root, group) in roots {
        let tree = process::tree_with_root(root, Some(group));
        found.extend(tree.into_iter().filter(|p| !is_in(&found, p)).collect::<Vec<_>>());
    }
    found
}
