//! Whether a copy still is what was copied.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use countersign_metadata::Sha256;

use super::super::manifest::{Item, unescape};
use super::super::{StateError, blocks};
use super::attributes;
use crate::durable::OnDisk;

/// Reads one path of the copy in `tree` and compares it with what should be there. Modes are not compared: in a copy its
/// owner may enter every directory.
pub(in super::super) fn check(tree: &Path, path: &Path, item: &Item) -> Result<(), StateError> {
    let copy = tree.join(path);
    let same = match item {
        Item::File { length, digest: wanted, attributes: dressed, .. } => {
            let file = File::open(&copy).on_disk("read", &copy)?;
            let found = blocks::read(&file, |_, _| Ok(())).on_disk("read", &copy)?;
            *wanted == Some(found.0)
                && *length == found.1
                && attributes::of(&file).on_disk("read", &copy)? == *dressed
        }
        Item::Directory { attributes: dressed, .. } => {
            let dir = File::open(&copy).on_disk("read", &copy)?;
            let is_dir = dir.metadata().on_disk("read", &copy)?.is_dir();
            is_dir && attributes::of(&dir).on_disk("read", &copy)? == *dressed
        }
        Item::HardLink { of } => {
            let other = tree.join(unescape(of));
            let (one, two) = (fs::symlink_metadata(&copy), fs::symlink_metadata(&other));
            let (one, two) = (one.on_disk("read", &copy)?, two.on_disk("read", &other)?);
            (one.dev(), one.ino()) == (two.dev(), two.ino())
        }
        Item::Link { target } => fs::read_link(&copy).on_disk("read", &copy)? == unescape(target),
    };
    if same { Ok(()) } else { Err(StateError::Different(copy)) }
}

/// The digest and length of a file that was cloned: what it holds is what was cloned.
pub(super) fn digest(copy: &Path) -> Result<(Option<Sha256>, u64), StateError> {
    let file = File::open(copy).on_disk("read", copy)?;
    let (digest, length) = blocks::read(&file, |_, _| Ok(())).on_disk("read", copy)?;
    Ok((Some(digest), length))
}
