//! What a payload wrote above a directory that stayed as it was: its upper directory, read after the run.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Paths longer than this, in bytes, are not looked below: the kernel takes none longer than 4096.
const LONGEST: usize = 3072;

/// What a payload wrote, changed and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many names.
    pub names: u64,
    /// The length of all files written, created or changed, together.
    pub bytes: u64,
    /// The first names, in order of their paths.
    pub list: Vec<Change>,
    /// Directories that could not be looked into: closed by the payload, or too deep.
    pub unread: u64,
}

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Below the directory.
    pub path: PathBuf,
    /// What was done.
    pub deed: Deed,
    /// Whether a directory has that name now, or had it.
    pub directory: bool,
    /// The length of the file that has that name now; 0 for what is none.
    pub bytes: u64,
}

/// What was done to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It was not there before.
    Created,
    /// Its content, kind, mode or owner is another one.
    Changed,
    /// It was opened to be written; length, mode and time of change are as they were.
    Opened,
    /// It is not there any more.
    Deleted,
}

/// Lists what lies in `upper` of a [`Mount::Overlay`](crate::Mount::Overlay) above `lower`, when its sandbox is gone: all
/// is counted, the first `most` names are listed. A directory that was renamed is listed as created under its new
/// name, without what is in it.
///
/// # Errors
/// A directory cannot be read although it may be.
pub fn written(lower: &Path, upper: &Path, most: usize) -> io::Result<Written> {
    let mut found = Written::default();
    // Directories still to be looked into; the first one by name on top.
    let mut pending = vec![(PathBuf::new(), true)];
    let mut changes = Vec::new();
    while let Some((dir, was_there)) = pending.pop() {
        let entries = match fs::read_dir(upper.join(&dir)) {
            Ok(_) if dir.as_os_str().as_bytes().len() > LONGEST => Err(()),
            Ok(entries) => Ok(entries),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(()),
            Err(error) => return Err(error),
        };
        let Ok(entries) = entries else {
            found.unread += 1;
            continue;
        };
        for entry in entries {
            let path = dir.join(entry?.file_name());
            let now = fs::symlink_metadata(upper.join(&path))?;
            let before =
                if was_there { fs::symlink_metadata(lower.join(&path)).ok() } else { None };
            if now.is_dir() {
                pending.push((path.clone(), before.as_ref().is_some_and(Metadata::is_dir)));
            }
            let Some(change) = change(path, &now, before.as_ref()) else { continue };
            found.names += 1;
            found.bytes = found.bytes.saturating_add(match change.deed {
                Deed::Created | Deed::Changed => change.bytes,
                Deed::Opened | Deed::Deleted => 0,
            });
            changes.push(change);
            // Memory is bounded however many names a payload made.
            if changes.len() > 2 * most.max(512) {
                shorten(&mut changes, most);
            }
        }
    }
    shorten(&mut changes, most);
    Ok(Written { list: changes, ..found })
}

fn shorten(changes: &mut Vec<Change>, most: usize) {
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes.truncate(most);
}

fn change(path: PathBuf, now: &Metadata, before: Option<&Metadata>) -> Option<Change> {
    // How an overlay marks a removed name.
    let removed = now.file_type().is_char_device() && now.rdev() == 0;
    let deed = match before {
        // Made and removed again.
        None if removed => return None,
        None => Deed::Created,
        Some(_) if removed => Deed::Deleted,
        Some(before) if before.is_dir() && now.is_dir() && before.mode() == now.mode() => {
            return None;
        }
        Some(before) if same(before, now) => Deed::Opened,
        Some(_) => Deed::Changed,
    };
    let directory = if removed { before.is_some_and(Metadata::is_dir) } else { now.is_dir() };
    let bytes = if now.is_file() { now.len() } else { 0 };
    Some(Change { path, deed, directory, bytes })
}

fn same(before: &Metadata, now: &Metadata) -> bool {
    let facts = |meta: &Metadata| (meta.mode(), meta.len(), meta.mtime(), meta.mtime_nsec());
    now.is_file() && facts(before) == facts(now)
}
