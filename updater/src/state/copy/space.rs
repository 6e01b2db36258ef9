//! Room for a copy, checked before its first byte.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::ladder;
use super::{StateError, vanished};
use crate::durable::{DiskError, OnDisk};
use crate::fetch::free_bytes;

/// Fails unless the file system of `to` has room for so many copies of `from`, with a tenth to spare and `spare` bytes
/// left. Where copies share blocks with what was copied, the tenth is all they need.
///
/// # Errors
/// It has not, or one of them cannot be read.
pub fn check_space(from: &Path, to: &Path, copies: u64, spare: u64) -> Result<(), StateError> {
    let used = used(from)?;
    let whole = if ladder::shares_blocks(from, to)? { 0 } else { used };
    let needed = whole.saturating_add(used / 10).saturating_mul(copies).saturating_add(spare);
    let free = free_bytes(to)?;
    if free >= needed {
        return Ok(());
    }
    Err(StateError::Space { path: to.to_owned(), needed, free })
}

/// Bytes on the disk below `dir`; what vanishes meanwhile does not count.
fn used(dir: &Path) -> Result<u64, DiskError> {
    let mut sum = 0u64;
    let mut next = vec![dir.to_owned()];
    while let Some(dir) = next.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if vanished(&error) => continue,
            other => other.on_disk("read", &dir)?,
        };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            sum = sum.saturating_add(meta.blocks().saturating_mul(512));
            if meta.is_dir() {
                next.push(entry.path());
            }
        }
    }
    Ok(sum)
}
