//! `NODE/log/node.log`: what the node prints, kept within bounds.
//!
//! The node writes the file itself (append mode), so that its output survives the supervisor. Rotation is by copy and
//! truncate: a line written between the two is lost, a running node is never disturbed.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use crate::durable::{DiskError, OnDisk};

/// Opens the log for a process to append to.
pub(super) fn open(path: &Path) -> Result<File, DiskError> {
    OpenOptions::new().append(true).create(true).open(path).on_disk("open", path)
}

/// Moves the log aside as `node.log.1` once it is longer than `max` bytes.
pub(super) fn rotate(path: &Path, max: u64) -> Result<(), DiskError> {
    if fs::metadata(path).map_or(0, |meta| meta.len()) <= max {
        return Ok(());
    }
    let old = path.with_extension("log.1");
    fs::copy(path, &old).on_disk("copy", path)?;
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(0))
        .on_disk("truncate", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_long_log_is_moved_aside_while_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(b"0123456789").unwrap();
        rotate(&path, 10).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 10);
        rotate(&path, 9).unwrap();
        writer.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read(dir.path().join("node.log.1")).unwrap(), b"0123456789");
    }
}
