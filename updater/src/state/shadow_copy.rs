//! A copy of the live state for the shadow: one moment of it, while the node runs.
//!
//! The node's own checkpoint if it has one and it works; else most is copied while it runs, then it is frozen, what
//! changed is copied again, and it goes on. A node that does not run is copied under its lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::copy::{Copier, Pass, check_space};
use super::{StateError, command};
use crate::Home;
use crate::durable::OnDisk;
use crate::generation::Generation;
use crate::supervise::{Client, Phase, Reply, Request, lock_state};
use crate::trust_store::chain;

/// A node is not frozen for longer.
const LONGEST_FREEZE: Duration = Duration::from_secs(60);

/// How the copy was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// By the node's own command.
    Checkpoint,
    /// In passes, the last one while the node was frozen; with the reason if its own command failed.
    Frozen(Option<String>),
    /// In one pass: the node did not run.
    Still,
}

/// Where the copy lies.
pub fn place(home: &Home) -> PathBuf {
    home.shadow().join("state")
}

/// Copies the data of `current`, the generation that runs, into [`place`]. What is there is replaced.
///
/// # Errors
/// There is no room, the state holds what cannot be copied, or the node cannot be held still.
pub fn make(
    home: &Home,
    current: &Generation,
    supervisor: &Client,
    spare: u64,
    limit: Duration,
) -> Result<Method, StateError> {
    let (data, to) = (current.state_dir(home), place(home));
    remove(&to)?;
    check_space(&data, &home.shadow(), spare)?;
    let phase = supervisor.status().map_err(StateError::Freeze)?.phase;
    if !matches!(phase, Phase::Starting | Phase::Ready) {
        let lock = lock_state(home)?;
        Copier::new(&data, &to)?.pass(Pass::Still)?;
        drop(lock);
        return Ok(Method::Still);
    }
    let failed = match checkpoint(home, current, &to, limit) {
        None => None,
        Some(Ok(())) => return Ok(Method::Checkpoint),
        Some(Err(reason)) => Some(reason),
    };
    remove(&to)?;
    let mut copier = Copier::new(&data, &to)?;
    copier.pass(Pass::Live)?;
    copier.pass(Pass::Live)?;
    let for_ms = u64::try_from(LONGEST_FREEZE.as_millis()).unwrap_or(u64::MAX);
    supervisor.ask(Request::Freeze { for_ms }).map_err(StateError::Freeze)?;
    let copied = copier.pass(Pass::Still);
    let thawed = supervisor.ask(Request::Thaw).map_err(StateError::Freeze)?;
    copied?;
    match thawed {
        Reply::Thawed { was_frozen: true } => Ok(Method::Frozen(failed)),
        _ => Err(StateError::Thawed),
    }
}

/// The node's own command, if it has one. What it wrote is read through once as a copy would be: files,
/// directories and links only.
fn checkpoint(
    home: &Home,
    current: &Generation,
    to: &Path,
    limit: Duration,
) -> Option<Result<(), String>> {
    let raw = home.shadow().join("checkpoint");
    let words = current.checkpoint(home, &raw)?;
    let made = (|| {
        remove(&raw).map_err(|error| chain(&error))?;
        let environment = current.launch.environment.clone();
        let log = home.log().join("checkpoint.log");
        command::run(&words, environment, &current.state_dir(home), &log, limit, None)
            .map_err(|error| chain(&error))?;
        let copied = Copier::new(&raw, to).and_then(|mut copier| copier.pass(Pass::Still));
        copied.and_then(|_| remove(&raw)).map_err(|error| chain(&error))
    })();
    Some(made)
}

/// Removes the copy: it was used, and holds whatever the node's state holds.
///
/// # Errors
/// The disk fails.
pub fn discard(home: &Home) -> Result<(), StateError> {
    remove(&place(home))
}

/// Only ever called for scratch below `NODE/shadow`.
#[expect(clippy::disallowed_methods, reason = "scratch below NODE/shadow, never state")]
fn remove(scratch: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).on_disk("remove", scratch).map_err(StateError::from)
        }
        _ => Ok(()),
    }
}
