//! Snapshots: copied ahead while the node runs, completed when it has stopped, read back, opened, named by one rename.
//!
//! ```text
//! NODE/snapshots/partial-3/tree/     being copied
//! NODE/snapshots/3/tree/             the state as generation 3 left it
//! NODE/snapshots/3/manifest.json     every file of it with its digest
//! NODE/snapshots/3/restored.json     the data directory that it was restored into, if it was
//! NODE/snapshots/aside-3.1/          one that was there when a migration was unfinished: kept for a person
//! ```

mod keep;
#[cfg(test)]
mod tests;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::copy::{Copier, Pass, check, check_space};
use super::data_dir::{self, Alone};
use super::manifest::{FORMAT, Item, Manifest, is_plain, unescape};
use super::{Opened, StateError, scratch};
use crate::Home;
use crate::durable::{self, DiskError, OnDisk};
use crate::swap::marker;

pub use keep::{Keep, prune};

/// Longest manifest, in bytes.
const MAX_MANIFEST: u64 = 1 << 30;

pub(super) fn partial(home: &Home, number: u64) -> PathBuf {
    home.snapshots().join(format!("partial-{number}"))
}

/// Copies what is there of data directory `data` while the node writes it. The result is kept for [`complete`]. Before the
/// first byte there must be room for the snapshot and for a copy of it to be opened.
///
/// # Errors
/// There is no room, or the state holds what cannot be copied.
pub fn ahead(home: &Home, number: u64, data: u64, spare: u64) -> Result<Copier, StateError> {
    let from = home.state(data);
    let dir = partial(home, number);
    remove(home, &dir)?;
    check_space(&from, &home.snapshots(), 2, spare)?;
    durable::make_dir(&dir)?;
    let mut copier = Copier::new(&from, &dir.join("tree"))?;
    copier.pass(Pass::Live)?;
    copier.settle()?;
    Ok(copier)
}

/// What is asked of the tree of a snapshot before it counts.
pub type Open<'a> = &'a mut dyn FnMut(&Path) -> Result<Opened, StateError>;

/// Completes snapshot `number` of data directory `data` while nothing writes it, with what was copied ahead in this
/// process, or from scratch. Where `open` is given, it counts only if that says yes.
///
/// # Errors
/// Something writes the state, there is no room, what was written cannot be read back, or it cannot be opened.
pub fn complete(
    home: &Home,
    number: u64,
    data: u64,
    spare: u64,
    ahead_of_time: Option<Copier>,
    open: Option<Open<'_>>,
) -> Result<(), StateError> {
    let alone = Alone::with(home, &home.state(data))?;
    let mut copier = match ahead_of_time {
        Some(copier) => copier,
        None => ahead(home, number, data, spare)?,
    };
    copier.pass(Pass::Still)?;
    copier.settle()?;
    let dir = partial(home, number);
    let mut manifest = copier.manifest(data, Timestamp::now());
    manifest.opened = open.map(|open| open(&dir.join("tree"))).transpose()?;
    let bytes = serde_json::to_vec_pretty(&manifest)
        .map_err(|source| StateError::Manifest { path: dir.clone(), source })?;
    durable::write_private(&dir.join("manifest.json"), &bytes)?;
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
    drop(alone);
    Ok(())
}

/// A name of its own beside the numbers.
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
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|source| StateError::Manifest { path: path.clone(), source })?;
    if manifest.format > FORMAT {
        return Err(StateError::Format { path, format: manifest.format });
    }
    Ok(manifest)
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
        let leads_out = matches!(item, Item::HardLink { of } if !is_plain(&unescape(of)));
        if !is_plain(&path) || leads_out {
            return Err(StateError::Different(tree.join(path)));
        }
        check(&tree, &path, item)?;
    }
    // It is made here and moved there by a rename, which needs one file system for both.
    check_space(&tree, &snapshot, 1, spare)?;
    let restoring = snapshot.join("restoring");
    remove(home, &restoring)?;
    data_dir::make(&restoring)?;
    let mut copier = Copier::filling(&tree, &restoring)?;
    copier.pass(Pass::Still)?;
    copier.settle()?;
    // In a snapshot its owner may enter every directory; in the state, as it was.
    for (path, item) in manifest.entries.iter().rev() {
        if let Item::Directory { mode, .. } = item {
            let dir = restoring.join(unescape(path));
            fs::set_permissions(&dir, Permissions::from_mode(*mode)).on_disk("restore", &dir)?;
        }
    }
    durable::sync_file_system(&restoring)?;
    let data = copy_number(home)?;
    let bytes = serde_json::to_vec(&Restored { data })
        .map_err(|source| StateError::Manifest { path: note.clone(), source })?;
    durable::write_private(&note, &bytes)?;
    fs::rename(&restoring, home.state(data)).on_disk("name", &home.state(data))?;
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

pub(super) fn remove(home: &Home, path: &Path) -> Result<(), StateError> {
    Ok(scratch::remove_below(&home.snapshots(), path)?)
}
