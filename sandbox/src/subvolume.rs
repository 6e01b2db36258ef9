//! Subvolumes of btrfs: not isolation, but here is where the house makes calls that no safe library wraps.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};

/// The inode number that the top of every subvolume has.
const TOP: u64 = 256;

/// Whether a directory lies on btrfs.
///
/// # Errors
/// It cannot be asked.
pub fn is_on_btrfs(dir: &File) -> io::Result<bool> {
    Ok(fstatfs(dir)?.filesystem_type() == BTRFS_SUPER_MAGIC)
}

/// Whether a directory is the top of a subvolume.
///
/// # Errors
/// It cannot be asked.
pub fn is_one(dir: &File) -> io::Result<bool> {
    Ok(is_on_btrfs(dir)? && dir.metadata()?.ino() == TOP)
}

/// Makes an empty subvolume `name` in the directory `into`.
///
/// # Errors
/// The file system has none, this user may not, or the name is taken.
pub fn create(into: &File, name: &str) -> io::Result<()> {
    crate::sys::create_subvolume(into, name)
}

/// Makes the writable snapshot `name` of the subvolume `source` in the directory `into`, at one moment. Subvolumes
/// inside `source` are not in it: an empty directory is in their place.
///
/// # Errors
/// They are not on the same btrfs, this user may not, or the name is taken.
pub fn snapshot(source: &File, into: &File, name: &str) -> io::Result<()> {
    crate::sys::snapshot_subvolume(source, into, name)
}
