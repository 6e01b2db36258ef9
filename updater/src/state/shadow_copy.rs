//! A copy of the live state for a sandbox: one moment of it, without its secrets, while the node runs.
//!
//! The rungs of [`super::ladder`], tried from the top: what cannot be had leads to the next. A node that does not run is
//! copied under its lock.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::copy::{Copier, Pass, check_space};
use super::data_dir::Alone;
use super::ladder::{self, Rung};
use super::{Secrets, StateError, command, scratch};
use crate::Home;
use crate::durable::OnDisk;
use crate::generation::Generation;
use crate::supervise::{Client, Phase, Reply, Request};
use crate::trust_store::chain;

/// A node is not frozen for longer.
const LONGEST_FREEZE: Duration = Duration::from_secs(60);

/// How the copy was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The rung; the lower two also where the node did not run and nobody had to be frozen.
    pub by: Rung,
    /// What the node's own command did wrong, if it has one and it failed.
    pub checkpoint: Option<String>,
    /// For how long the node was frozen, if it was.
    pub frozen: Option<Duration>,
}

/// Where the copy lies.
pub fn place(home: &Home) -> PathBuf {
    home.shadow().join("state")
}

/// An empty directory for what the payload of this name writes above a copy. What is there is replaced.
///
/// # Errors
/// The disk fails.
pub fn above(home: &Home, name: &str) -> Result<PathBuf, StateError> {
    let dir = all_above(home).join(name);
    remove(home, &dir)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).on_disk("make", &dir)?;
    Ok(dir)
}

fn all_above(home: &Home) -> PathBuf {
    home.shadow().join("above")
}

/// Copies the data of `current`, the generation that runs, into [`place`], without `secrets`. What is there is replaced.
///
/// # Errors
/// There is no room, the state holds what cannot be copied, or the node cannot be held still.
pub fn make(
    home: &Home,
    current: &Generation,
    supervisor: &Client,
    secrets: &Secrets,
    spare: u64,
    limit: Duration,
) -> Result<Made, StateError> {
    let (data, to) = (current.state_dir(home), place(home));
    remove(home, &to)?;
    check_space(&data, &home.shadow(), 1, spare)?;
    let phase = supervisor.status().map_err(StateError::Freeze)?.phase;
    if !matches!(phase, Phase::Starting | Phase::Ready) {
        let alone = Alone::with(home, &data)?;
        let mut copier = Copier::without(secrets, &data, &to)?;
        copier.pass(Pass::Still)?;
        drop(alone);
        return Ok(Made { by: copier.rung(), checkpoint: None, frozen: None });
    }
    let failed = match checkpoint(home, current, secrets, &to, limit) {
        None => None,
        Some(Ok(())) => return Ok(Made { by: Rung::Checkpoint, checkpoint: None, frozen: None }),
        Some(Err(reason)) => Some(reason),
    };
    remove(home, &to)?;
    if let Some(frozen) = by_snapshot(home, &data, secrets, supervisor, &to)? {
        return Ok(Made { by: Rung::Subvolume, checkpoint: failed, frozen: Some(frozen) });
    }
    remove(home, &to)?;
    let mut copier = Copier::without(secrets, &data, &to)?;
    copier.pass(Pass::Live)?;
    copier.pass(Pass::Live)?;
    let (_, frozen) = frozen(supervisor, || copier.pass(Pass::Still))?;
    Ok(Made { by: copier.rung(), checkpoint: failed, frozen: Some(frozen) })
}

/// Holds the node still while `copy` is at work, and makes sure that it was still to the end. Says for how long.
fn frozen<T>(
    supervisor: &Client,
    copy: impl FnOnce() -> Result<T, StateError>,
) -> Result<(T, Duration), StateError> {
    let for_ms = u64::try_from(LONGEST_FREEZE.as_millis()).unwrap_or(u64::MAX);
    let began = Instant::now();
    supervisor.ask(Request::Freeze { for_ms }).map_err(StateError::Freeze)?;
    let copied = copy();
    let thawed = supervisor.ask(Request::Thaw).map_err(StateError::Freeze)?;
    let copied = copied?;
    match thawed {
        Reply::Thawed { was_frozen: true } => Ok((copied, began.elapsed())),
        _ => Err(StateError::Thawed),
    }
}

/// A snapshot of the whole subvolume, copied from when the node goes on. Says for how long it was frozen. `None`: it is no
/// subvolume, or not all of it is in one.
fn by_snapshot(
    home: &Home,
    data: &Path,
    secrets: &Secrets,
    supervisor: &Client,
    to: &Path,
) -> Result<Option<Duration>, StateError> {
    let image = home.shadow().join("image");
    remove(home, &image)?;
    let is_one = std::fs::File::open(data)
        .and_then(|dir| countersign_sandbox::subvolume::is_one(&dir))
        .on_disk("look at", data)?;
    if !is_one {
        return Ok(None);
    }
    let (taken, frozen) = frozen(supervisor, || {
        Ok(ladder::snapshot(data, &home.shadow(), "image").on_disk("take a snapshot of", data)?)
    })?;
    if !taken {
        return Ok(None);
    }
    let copied =
        Copier::without(secrets, &image, to).and_then(|mut copier| copier.pass(Pass::Still));
    remove(home, &image)?;
    match copied {
        Ok(_) => Ok(Some(frozen)),
        Err(StateError::Nested(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The node's own command, if it has one. What it wrote is read through once as a copy would be: files,
/// directories and links only.
fn checkpoint(
    home: &Home,
    current: &Generation,
    secrets: &Secrets,
    to: &Path,
    limit: Duration,
) -> Option<Result<(), String>> {
    let raw = home.shadow().join("checkpoint");
    let words = current.checkpoint(home, &raw)?;
    let made = (|| {
        remove(home, &raw).map_err(|error| chain(&error))?;
        let environment = current.launch.environment.clone();
        let log = home.log().join("checkpoint.log");
        command::run(&words, environment, &current.state_dir(home), &log, limit, Vec::new())
            .map_err(|error| chain(&error))?;
        let copied = Copier::without(secrets, &raw, to).and_then(|mut c| c.pass(Pass::Still));
        copied.and_then(|_| remove(home, &raw)).map_err(|error| chain(&error))
    })();
    Some(made)
}

/// Removes the copy and what was written above it: both hold whatever the node's state holds.
///
/// # Errors
/// The disk fails.
pub fn discard(home: &Home) -> Result<(), StateError> {
    remove(home, &all_above(home))?;
    remove(home, &place(home))
}

fn remove(home: &Home, copy: &Path) -> Result<(), StateError> {
    Ok(scratch::remove_below(&home.shadow(), copy)?)
}
