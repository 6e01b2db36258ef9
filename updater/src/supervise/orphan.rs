//! A node that outlived its supervisor: found by pid and start time, stopped before another one is started.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{Limits, SuperviseError, process};
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
        durable::write(&path(home), &bytes)
    }

    /// What an earlier supervisor left; a damaged file is as good as none.
    pub(super) fn read(home: &Home) -> Result<Option<Self>, DiskError> {
        let bytes = durable::read(&path(home), 1 << 16)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// Stops what an earlier supervisor left running, with all its processes. TERM, grace, and KILL only after the
/// operator's limit.
pub(super) fn stop(node: &NodeFile, limits: Limits) -> Result<(), SuperviseError> {
    if node.boot != process::boot_id() {
        return Ok(());
    }
    // While any member of the group lives, its number names no other group.
    let main = process::stat(node.pid);
    if main.as_ref().is_some_and(|stat| stat.start != node.start) {
        return Ok(());
    }
    let left = || process::tree_with_root(node.pid, Some(node.pid));
    let began = Instant::now();
    let mut told = false;
    loop {
        let processes = left();
        if processes.is_empty() {
            return Ok(());
        }
        if !told {
            process::signal(&processes, Signal::SIGTERM);
            process::signal(&processes, Signal::SIGCONT);
            told = true;
        }
        match limits.kill_after {
            Some(limit) if began.elapsed() > limit => {
                process::signal(&processes, Signal::SIGKILL);
            }
            None if began.elapsed() > Duration::from_secs(u64::from(node.stop_grace) * 10) => {
                return Err(SuperviseError::Orphan { pid: node.pid });
            }
            _ => {}
        }
        process::breathe();
    }
}
