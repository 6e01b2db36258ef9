//! Brings a copy from the store onto a node that has no state yet: at the schema it was saved with.
//!
//! The copy becomes a snapshot of this node, that becomes a new data directory, and `current` is pointed at it by the
//! swap's own code. What was there stays: an empty data directory, and whatever an earlier try left.

mod release;
mod write;

use std::fs::{self, File};

use countersign_metadata::{Area, Version};
use countersign_updater::backup::Queue;
use countersign_updater::config::Backup;
use countersign_updater::durable::{self, OnDisk};
use countersign_updater::fetch::free_bytes;
use countersign_updater::generation::{Generation, GenerationError};
use countersign_updater::state::{self, Secrets, StateError, migrate, snapshot};
use countersign_updater::supervise::{SuperviseError, lock_state};
use countersign_updater::swap::{self, marker};
use countersign_updater::{Config, Home};
use jiff::Timestamp;
use rustic_core::repofile::SnapshotFile;

use crate::repository::Repository;
use crate::source::GENERATION;
use crate::upload::MAX_GENERATION;
use crate::{BackupError, Copy};
use release::Release;
use write::{Indexed, write};

/// What a node got.
#[derive(Clone, Debug)]
pub struct Restored {
    /// From which copy.
    pub copy: Copy,
    /// Into which data directory.
    pub data: u64,
    /// The generation that `current` names now.
    pub generation: u64,
    /// What runs on it.
    pub version: Version,
    /// Paths in the data directory that the copy was made without.
    pub missing: Vec<String>,
    /// What had to be migrated, because the version that wrote the state cannot be had.
    pub migrated: Vec<(Area, u32, u32)>,
}

/// Which copies are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Those that hold all of the state.
    Whole,
    /// Also those without what is secret: whoever asks brings that himself.
    WithoutSecrets,
}

/// Restores the copy `id`, a name or the beginning of one, or the newest.
///
/// # Errors
/// The node is at work, is not empty, or has another product; there is no such copy, it lacks what is secret, it is
/// damaged, or nothing here can run on it. `current` is then as it was.
pub fn restore(
    home: &Home,
    config: &Config,
    backup: &Backup,
    repository: &Repository,
    id: Option<&str>,
    accept: Accept,
) -> Result<Restored, BackupError> {
    let _agent = agent_lock(home)?;
    let lock = state_lock(home)?;
    let current = empty(home)?;
    let file = choose(repository, id)?;
    let copy = Copy::of(&file);
    let failed = |error: Box<rustic_core::RusticError>| repository.failed("read", &error);
    let indexed = repository.again()?.to_indexed().map_err(failed)?;
    let saved = generation(repository, &indexed, &file)?;
    if saved.product != config.product {
        let (theirs, ours) = (saved.product.to_string(), config.product.to_string());
        return Err(BackupError::OtherProduct { id: copy.id, theirs, ours });
    }
    let missing = missing(&copy, &saved);
    if !missing.is_empty() && accept == Accept::Whole {
        return Err(BackupError::WithoutSecrets { id: copy.id, paths: missing });
    }
    let release = release::find(home, config, &current, &saved)?;

    // Once as a snapshot, and once as the state.
    let needed = copy.size.saturating_mul(2).saturating_add(config.free_space);
    let free = free_bytes(home.path())?;
    if free < needed {
        return Err(StateError::Space { path: home.path().to_owned(), needed, free }.into());
    }
    let number = Generation::last_number(home)? + 1;
    state::receive(home, number, |dir| {
        write(repository, &indexed, &file, dir)?;
        // A snapshot of this node has none: its number is its generation's.
        let generation = dir.join(GENERATION);
        fs::remove_file(&generation).on_disk("remove", &generation).map_err(BackupError::from)
    })?;
    let data = snapshot::restore(home, number, config.free_space)?;
    // Migrations lock the state themselves. Nothing names this data directory yet.
    drop(lock);
    let (next, migrated) = match &release {
        Release::Saved(staged) => (swap::restored(config, staged, &saved, data), Vec::new()),
        Release::Installed { steps } => {
            let limit = config.shadow.migrate;
            for (area, from, to) in steps {
                migrate::run(home, &current, &home.state(data), area, (*from, *to), limit)?;
            }
            (Some(swap::adopted(&current, &saved, data)), steps.clone())
        }
    };
    let next = next.ok_or_else(|| BackupError::NoRelease {
        version: saved.version.to_string(),
        reason: "the release reads other schemas than it says in the copy".to_owned(),
    })?;
    let _lock = state_lock(home)?;
    empty(home)?;
    let generation = swap::switch(home, &next)?;
    let version = Generation::read(home, generation)?.version;
    // It is in the store: it does not wait for it.
    Queue::update(home, backup, |queue| {
        let local = queue.waiting.iter().find(|waiting| waiting.local.snapshot == number);
        if let Some(local) = local.map(|waiting| waiting.local.clone()) {
            queue.arrived(&local, copy.id.clone(), Timestamp::now());
        }
    })?;
    Ok(Restored { copy, data, generation, version, missing, migrated })
}

/// What a copy was made without; its generation names it.
fn missing(copy: &Copy, saved: &Generation) -> Vec<String> {
    let secrets = Secrets::of(saved);
    let paths = secrets.paths().iter().filter(|_| copy.without_secrets);
    paths.map(ToString::to_string).collect()
}

/// One agent a node, and it must not be at work.
fn agent_lock(home: &Home) -> Result<File, BackupError> {
    let path = home.agent_lock();
    let file = durable::append_to(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(BackupError::Busy("an agent")),
        Err(fs::TryLockError::Error(error)) => {
            Err(durable::DiskError::new("lock", &path, error).into())
        }
    }
}

fn state_lock(home: &Home) -> Result<File, BackupError> {
    lock_state(home).map_err(|error| match error {
        SuperviseError::StateInUse(_) => BackupError::Busy("the node"),
        other => BackupError::State(other.into()),
    })
}

/// What is installed, if its data directory is empty and no migration is unfinished.
fn empty(home: &Home) -> Result<Generation, BackupError> {
    if marker::is_there(home) {
        return Err(BackupError::Busy("an unfinished migration"));
    }
    let current = Generation::current(home)?.ok_or(GenerationError::Missing(0))?;
    let data = home.state(current.state);
    match fs::read_dir(&data).on_disk("read", &data)?.next() {
        None => Ok(current),
        Some(_) => Err(BackupError::Occupied(data)),
    }
}

fn choose(repository: &Repository, id: Option<&str>) -> Result<SnapshotFile, BackupError> {
    let place = repository.place().to_owned();
    let mut all = repository.snapshots()?;
    if all.is_empty() {
        return Err(BackupError::Empty(place));
    }
    if let Some(id) = id.filter(|id| *id != "latest") {
        all.retain(|file| !id.is_empty() && file.id.to_hex().as_str().starts_with(id));
        if all.len() != 1 {
            return Err(BackupError::NoSuchCopy { id: id.to_owned(), place });
        }
    }
    let newest = all.into_iter().max_by_key(|file| file.time.timestamp());
    newest.ok_or(BackupError::Empty(place))
}

/// The generation whose state the copy is.
fn generation(
    repository: &Repository,
    indexed: &Indexed,
    file: &SnapshotFile,
) -> Result<Generation, BackupError> {
    let failed = |error: Box<rustic_core::RusticError>| repository.failed("read", &error);
    let node = indexed.node_from_snapshot_and_path(file, GENERATION).map_err(failed)?;
    let not = |reason: String| BackupError::NotANodes { id: Copy::of(file).id, reason };
    if node.meta.size > MAX_GENERATION {
        return Err(not(format!("{GENERATION} is too long")));
    }
    let mut bytes = Vec::new();
    indexed.dump(&node, &mut bytes).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| not(format!("{GENERATION}: {error}")))
}
