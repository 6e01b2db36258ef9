//! How long snapshots are kept: by number and by age, and never one that a roll-back may need.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{StateError, remove};
use crate::Home;
use crate::durable::OnDisk;
use crate::swap::marker;

/// What the operator wants kept. The newest snapshot is kept whatever it says: the way back from what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest.
    pub newest: usize,
    /// Those that are not older; `None`: however old.
    pub age: Option<Duration>,
}

/// Removes snapshots that need not be kept, and what was never completed. Snapshots that were moved aside in trouble go by
/// their age alone. While a migration is unfinished, nothing is removed.
///
/// # Errors
/// The disk fails.
pub fn prune(home: &Home, keep: Keep, now: Timestamp) -> Result<(), StateError> {
    if marker::is_there(home) {
        return Ok(());
    }
    let dir = home.snapshots();
    let (mut numbers, mut aside) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&dir).on_disk("read", &dir)? {
        let name = entry.on_disk("read", &dir)?.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.starts_with("partial-") {
            remove(home, &dir.join(name))?;
        } else if name.starts_with("aside-") {
            aside.push(dir.join(name));
        }
        numbers.extend(name.parse::<u64>().ok());
    }
    numbers.sort_unstable();
    let old =
        |path: &Path| keep.age.is_some_and(|age| taken(path).is_some_and(|at| at + age < now));
    for (place, number) in numbers.iter().rev().enumerate().skip(1) {
        let path = home.snapshot(*number);
        if place >= keep.newest || old(&path) {
            remove(home, &path)?;
        }
    }
    aside.iter().filter(|path| old(path)).try_for_each(|path| remove(home, path))
}

/// When it was completed; `None` if that cannot be told: then it is not old.
fn taken(snapshot: &Path) -> Option<Timestamp> {
    fs::metadata(snapshot.join("manifest.json")).ok()?.modified().ok()?.try_into().ok()
}
