//! `NODE/log/node.log`: what the node prints, kept within bounds.
//!
//! The node writes the file itself (append mode), so that its output survives the supervisor. Rotation is by copy and
//! truncate: a line written between the two is lost, a running node is never disturbed. A disk that is too full for
//! the copy loses the old lines: a log that grows for ever would be the end of the disk.

use std::fs::{self, OpenOptions};
use std::path::Path;

use crate::durable::{DiskError, OnDisk};

/// Moves the log aside as `node.log.1` once it is longer than `max` bytes.
///
/// An error says what was lost; the log has been cut off all the same, if that could be done at all.
pub(super) fn rotate(path: &Path, max: u64) -> Result<(), DiskError> {
    if fs::metadata(path).map_or(0, |meta| meta.len()) <= max {
        return Ok(());
    }
    let old = path.with_extension("log.1");
    let kept = fs::copy(path, &old).map(drop).on_disk("copy", path);
    if kept.is_err() {
        // Half a copy is of no use, and its space is.
        let _best_effort = fs::remove_file(&old);
    }
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(0))
        .on_disk("truncate", path)?;
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::append_to;
    use std::io::Write;

    #[test]
    fn a_long_log_is_moved_aside_while_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        let mut writer = append_to(&path).unwrap();
        writer.write_all(b"0123456789").unwrap();
        rotate(&path, 10).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 10);
        rotate(&path, 9).unwrap();
        writer.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read(dir.path().join("node.log.1")).unwrap(), b"0123456789");
    }

    #[test]
    fn a_log_that_cannot_be_kept_is_cut_off_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        append_to(&path).unwrap().write_all(b"0123456789").unwrap();
        fs::create_dir(dir.path().join("node.log.1")).unwrap();
        let error = rotate(&path, 9).unwrap_err();
        assert!(error.to_string().contains("copy"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"");
        rotate(&path, 9).unwrap();
    }
}
