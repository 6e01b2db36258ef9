//! What is on disk, and who may write it.
//!
//! ```text
//! DIR/lock                  flock(2), held by the one process that may write
//! DIR/values/SCHEMA         which schema, and the release that wrote it: replacing it is the commit of a migration
//! DIR/values/log.N          schema N: an append-only log of checksummed frames
//! DIR/counters/SCHEMA
//! DIR/counters/counts.N     schema N: statistics, replaced as a whole
//! ```
//!
//! `counts` says how many records of the log it has counted. It is written only after those records are on
//! disk, so it never leads; what it lacks is counted again from the log when the node starts.

mod counters;
mod durable;
mod frames;
mod records;
mod schema;
mod store;
mod values;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

pub(crate) use counters::Counters;
pub(crate) use durable::{create_with, replace, sync_directory};
pub(crate) use frames::{Frames, Next, seal};
pub(crate) use records::Records;
pub(crate) use schema::{Area, Schema};
pub(crate) use store::{Log, Store};
pub(crate) use values::{Change, Entry, MAX_KEY, MAX_VALUE, Stored, Values};

use crate::failure::{BUSY, Failure, OrFail, Outcome};

/// A state directory that this process alone may write, until it is dropped.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    /// Closing it gives the lock back, also when the process is killed.
    _lock: File,
}

impl State {
    /// Takes the lock of an existing directory.
    pub(crate) fn hold(path: &Path) -> Outcome<Self> {
        let lock = path.join("lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&lock)
            .or_fail(format_args!("open {}", lock.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                BUSY,
                format!("the state {} is in use by another process", path.display()),
            )),
            Err(TryLockError::Error(error)) => {
                Err(error).or_fail(format_args!("lock {}", lock.display()))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
