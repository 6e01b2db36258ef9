//! `NODE/migrating.json`: the state is between two schemas, so nothing that `current` names may be started on it.
//!
//! Written before the first migration, it names the generation that `current` names then. A switch makes it stale;
//! otherwise it is removed when every area is back.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Home;
use crate::durable::{self, DiskError};

#[derive(Serialize, Deserialize)]
struct Marker {
    generation: u64,
}

fn path(home: &Home) -> PathBuf {
    home.path().join("migrating.json")
}

/// Bars `generation` from being started, durably.
///
/// # Errors
/// The disk fails.
pub fn set(home: &Home, generation: u64) -> Result<(), DiskError> {
    if bars(home, generation)? {
        return Ok(());
    }
    let bytes = serde_json::to_vec(&Marker { generation })
        .map_err(|error| DiskError::new("write", &path(home), error.into()))?;
    durable::write(&path(home), &bytes)
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
        set(&home, 1).unwrap();
        assert!(bars(&home, 1).unwrap() && !bars(&home, 2).unwrap());
        fs::write(path(&home), "{").unwrap();
        assert!(bars(&home, 2).unwrap());
        clear(&home).unwrap();
        clear(&home).unwrap();
        assert!(!bars(&home, 2).unwrap());
    }
}
