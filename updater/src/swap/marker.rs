//! `NODE/migrating.json`: the state is between two schemas, so nothing that `current` names may be started on it.
//!
//! Written before the first migration, it names the generation that `current` names then. A switch makes it stale;
//! otherwise it is removed when every area is back.

use std::fs;
use std::io;
use std::path::PathBuf;

use countersign_metadata::Version;
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::durable::{self, DiskError};
use crate::generation::Generation;

#[derive(Serialize, Deserialize)]
struct Marker {
    generation: u64,
    /// The other version of the migration, for whoever has to repair this by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

fn path(home: &Home) -> PathBuf {
    home.path().join("migrating.json")
}

/// Bars `generation` from being started, durably, for a migration by the commands of `version`.
///
/// # Errors
/// The disk fails.
pub fn set(home: &Home, generation: u64, version: &Version) -> Result<(), DiskError> {
    if bars(home, generation)? {
        return Ok(());
    }
    let bytes = serde_json::to_vec(&Marker { generation, version: Some(version.to_string()) })
        .map_err(|error| DiskError::new("write", &path(home), error.into()))?;
    durable::write_private(&path(home), &bytes)
}

/// Whether `generation` may not be started. A marker that cannot be read bars everything.
///
/// # Errors
/// The disk fails.
pub fn bars(home: &Home, generation: u64) -> Result<bool, DiskError> {
    let bytes = durable::read(&path(home), 1 << 10)?;
    Ok(bytes.is_some_and(|bytes| {
        serde_json::from_slice::<Marker>(&bytes).is_ok_and(|m| m.generation == generation)
            || serde_json::from_slice::<Marker>(&bytes).is_err()
    }))
}

/// Whether there is a marker, whatever it bars.
pub fn is_there(home: &Home) -> bool {
    fs::symlink_metadata(path(home)).is_ok()
}

/// What bars `current`, and what a person can do about it where the journal does not know of the migration.
pub fn sentence(home: &Home, current: &Generation) -> String {
    let marker = durable::read(&path(home), 1 << 10).ok().flatten();
    let other = marker
        .and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok()?.version)
        .map_or_else(|| "another version".to_owned(), |version| format!("version {version}"));
    let (number, version, data) = (current.number, &current.version, current.state);
    let snapshot = if home.snapshot(number).is_dir() {
        format!(
            "snapshots/{number}/tree is the state as version {version} left it: or put a copy of it in the place of \
             state/{data}, keep what was there, and remove migrating.json"
        )
    } else {
        format!(
            "there is no snapshot {number}: without the journal the state has to be repaired by hand"
        )
    };
    format!(
        "migrating.json says that state/{data} is between the schemas of version {version} (generation {number}) and \
         of {other}, and the journal knows of no migration: nothing is started or changed. Put back the \
         journal.jsonl that was moved aside and run the agent again; {snapshot}"
    )
}

/// The state fits what `current` names again.
///
/// # Errors
/// The disk fails.
pub fn clear(home: &Home) -> Result<(), DiskError> {
    match fs::remove_file(path(home)) {
        Ok(()) => durable::sync_parent(&path(home)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DiskError::new("remove", &path(home), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_bars_its_generation_and_a_damaged_one_bars_all() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        assert!(!bars(&home, 1).unwrap());
        assert!(!is_there(&home));
        set(&home, 1, &"2.0.0".parse().unwrap()).unwrap();
        assert!(is_there(&home));
        assert!(bars(&home, 1).unwrap() && !bars(&home, 2).unwrap());
        fs::write(path(&home), "{").unwrap();
        assert!(bars(&home, 2).unwrap());
        clear(&home).unwrap();
        clear(&home).unwrap();
        assert!(!bars(&home, 2).unwrap());
    }
}
