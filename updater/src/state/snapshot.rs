//! Snapshots: copied ahead while the node runs, completed when it has stopped, read back, named by one rename.
//!
//! ```text
//! NODE/snapshots/partial-3/tree/     being copied
//! NODE/snapshots/3/tree/             the state as generation 3 left it
//! NODE/snapshots/3/manifest.json     every file of it with its digest
//! NODE/snapshots/3/restored.json     the data directory that it was restored into, if it was
//! NODE/snapshots/aside-3.1/          one that was there when a migration was unfinished: kept for a person
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::copy::{Copier, Pass, check, check_space};
use super::manifest::{Item, Manifest, is_plain, unescape};
use crate::Home;
use crate::durable::{self, DiskError, OnDisk};
use crate::supervise::lock_state;
use crate::swap::marker;

/// Longest manifest, in bytes.
const MAX_MANIFEST: u64 = 1 << 30;

fn partial(home: &Home, number: u64) -> PathBuf {
    home.snapshots().join(format!("partial-{number}"))
}

/// Copies what is there of `data` while the node writes it. The result is kept for [`complete`].
///
/// # Errors
/// There is no room, or the state holds what cannot be copied.
pub fn ahead(home: &Home, number: u64, data: u64, spare: u64) -> Result<Copier, StateError> {
    let from = home.state(data);
    let dir = partial(home, number);
    remove(home, &dir)?;
    check_space(&from, &home.snapshots(), spare)?;
    durable::make_dir(&dir)?;
    let mut copier = Copier::new(&from, &dir.join("tree"))?;
    copier.pass(Pass::Live)?;
    Ok(copier)
}

/// Completes snapshot `number` of data directory `data` while nothing writes it, with what was copied ahead in this
/// process, or from scratch.
///
/// # Errors
/// Something writes the state, there is no room, or what was written cannot be read back.
pub fn complete(
    home: &Home,
    number: u64,
    data: u64,
    spare: u64,
    ahead_of_time: Option<Copier>,
) -> Result<(), StateError> {
    let lock = lock_state(home)?;
    let mut copier = match ahead_of_time {
        Some(copier) => copier,
        None => ahead(home, number, data, spare)?,
    };
    copier.pass(Pass::Still)?;
    let dir = partial(home, number);
    let manifest = copier.manifest(data, Timestamp::now());
    let bytes = serde_json::to_vec_pretty(&manifest)
        .map_err(|source| StateError::Manifest { path: dir.clone(), source })?;
    durable::write(&dir.join("manifest.json"), &bytes)?;
    let complete = home.snapshot(number);
    // An earlier try to leave this generation left one; it is older than what we have now. While a migration is
    // unfinished it may be the only good one.
    if marker::is_there(home) && complete.exists() {
        let aside = free_name(home, number);
        fs::rename(&complete, &aside).on_disk("move aside", &complete)?;
    }
    remove(home, &complete)?;
    fs::rename(&dir, &complete).on_disk("name", &complete)?;
    durable::sync_dir(&home.snapshots())?;
    drop(lock);
    Ok(())
}

/// A name that [`prune`] leaves alone.
fn free_name(home: &Home, number: u64) -> PathBuf {
    let mut names = (1u64..).map(|n| home.snapshots().join(format!("aside-{number}.{n}")));
    names.find(|path| fs::symlink_metadata(path).is_err()).unwrap_or_default()
}

/// The manifest of a complete snapshot.
///
/// # Errors
/// It is not there or damaged.
pub fn manifest(home: &Home, number: u64) -> Result<Manifest, StateError> {
    let path = home.snapshot(number);
    let bytes = durable::read(&path.join("manifest.json"), MAX_MANIFEST)?
        .ok_or(StateError::NoSnapshot(number))?;
    serde_json::from_slice(&bytes).map_err(|source| StateError::Manifest { path, source })
}

#[derive(Serialize, Deserialize)]
struct Restored {
    data: u64,
}

/// Restores snapshot `number` into a new data directory and returns its number. What is there stays.
///
/// # Errors
/// The snapshot is missing or damaged, or there is no room.
pub fn restore(home: &Home, number: u64, spare: u64) -> Result<u64, StateError> {
    let snapshot = home.snapshot(number);
    let note = snapshot.join("restored.json");
    let manifest = manifest(home, number)?;
    if let Some(bytes) = durable::read(&note, 1 << 10)?
        && let Ok(Restored { data }) = serde_json::from_slice(&bytes)
        && home.state(data).is_dir()
    {
        return Ok(data);
    }
    let tree = snapshot.join("tree");
    for (path, item) in &manifest.entries {
        let path = unescape(path);
        if !is_plain(&path) {
            return Err(StateError::Different(tree.join(path)));
        }
        check(&tree.join(path), item)?;
    }
    check_space(&tree, &home.states(), spare)?;
    let scratch = snapshot.join("restoring");
    remove(home, &scratch)?;
    let mut copier = Copier::new(&tree, &scratch)?;
    copier.pass(Pass::Still)?;
    // In a snapshot its owner may enter every directory; in the state, as it was.
    for (path, item) in manifest.entries.iter().rev() {
        if let Item::Directory { mode } = item {
            let dir = scratch.join(unescape(path));
            fs::set_permissions(&dir, Permissions::from_mode(*mode)).on_disk("restore", &dir)?;
        }
    }
    durable::sync_file_system(&scratch)?;
    let data = copy_number(home)?;
    let bytes = serde_json::to_vec(&Restored { data })
        .map_err(|source| StateError::Manifest { path: note.clone(), source })?;
    durable::write(&note, &bytes)?;
    fs::rename(&scratch, home.state(data)).on_disk("name", &home.state(data))?;
    durable::sync_dir(&home.states())?;
    Ok(data)
}

/// A number that no data directory has.
fn copy_number(home: &Home) -> Result<u64, DiskError> {
    let dir = home.states();
    let mut last = 0;
    for entry in fs::read_dir(&dir).on_disk("read", &dir)? {
        let name = entry.on_disk("read", &dir)?.file_name();
        last = last.max(name.to_str().and_then(|name| name.parse().ok()).unwrap_or(0));
    }
    Ok(last + 1)
}

/// Removes all but the newest `keep` snapshots, and what was never completed.
///
/// # Errors
/// The disk fails.
pub fn prune(home: &Home, keep: usize) -> Result<(), StateError> {
    let dir = home.snapshots();
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&dir).on_disk("read", &dir)? {
        let name = entry.on_disk("read", &dir)?.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.starts_with("partial-") {
            remove(home, &dir.join(name))?;
        }
        numbers.extend(name.parse::<u64>().ok());
    }
    numbers.sort_unstable();
    for number in numbers.iter().rev().skip(keep.max(1)) {
        remove(home, &home.snapshot(*number))?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a snapshot, checked to lie below NODE/snapshots")]
fn remove(home: &Home, path: &Path) -> Result<(), StateError> {
    let below = path.strip_prefix(home.snapshots()).is_ok_and(is_plain);
    if !below {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no snapshot");
        return Err(DiskError::new("remove", path, error).into());
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("remove", path, error).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        fs::create_dir(home.state(1)).unwrap();
        fs::create_dir(home.state(1).join("inner")).unwrap();
        fs::write(home.state(1).join("inner/file"), "precious").unwrap();
        fs::set_permissions(home.state(1).join("inner"), Permissions::from_mode(0o550)).unwrap();
        (dir, home)
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was_and_a_damaged_one_is_refused() {
        let (_dir, home) = home();
        complete(&home, 1, 1, 0, None).unwrap();
        assert_eq!(restore(&home, 1, 0).unwrap(), 2);
        let inner = home.state(2).join("inner");
        assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o550);
        assert_eq!(fs::read(inner.join("file")).unwrap(), b"precious");

        complete(&home, 1, 1, 0, None).unwrap();
        fs::write(home.snapshot(1).join("tree/inner/file"), "falsified").unwrap();
        assert!(matches!(restore(&home, 1, 0), Err(StateError::Different(_))));
        assert!(!home.state(3).exists());
        assert!(matches!(restore(&home, 7, 0), Err(StateError::NoSnapshot(7))));
    }

    #[test]
    fn a_complete_snapshot_is_kept_aside_while_a_migration_is_unfinished() {
        let (_dir, home) = home();
        complete(&home, 1, 1, 0, None).unwrap();
        marker::set(&home, 1, &"2.0.0".parse().unwrap()).unwrap();
        fs::write(home.state(1).join("new"), "schema 2").unwrap();
        for _ in 0..2 {
            complete(&home, 1, 1, 0, None).unwrap();
        }
        prune(&home, 1).unwrap();
        let good = home.snapshots().join("aside-1.1/tree");
        assert_eq!(fs::read(good.join("inner/file")).unwrap(), b"precious");
        assert!(!good.join("new").exists() && home.snapshots().join("aside-1.2/tree/new").exists());
        assert!(home.snapshot(1).join("tree/new").exists());
    }

    #[test]
    fn only_old_snapshots_are_pruned() {
        let (_dir, home) = home();
        for number in 1..=5 {
            complete(&home, number, 1, 0, None).unwrap();
        }
        drop(ahead(&home, 6, 1, 0).unwrap());
        prune(&home, 2).unwrap();
        let mut left: Vec<_> = fs::read_dir(home.snapshots())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["4", "5"]);
        assert_eq!(fs::read(home.state(1).join("inner/file")).unwrap(), b"precious");
    }

    #[test]
    fn nothing_outside_the_snapshots_is_ever_removed() {
        let (_dir, home) = home();
        for path in [home.state(1), home.snapshots(), home.snapshots().join("../state/1")] {
            assert!(remove(&home, &path).is_err(), "{path:?}");
        }
        assert!(home.state(1).join("inner/file").exists());
    }
}
