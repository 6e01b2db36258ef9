//! How one moment of a running node's state can be had on this host, best first; found out by trying.
//!
//! ```text
//! checkpoint   the node's own command
//! subvolume    frozen for one snapshot of its btrfs subvolume, copied afterwards
//! reflink      frozen while every file that changed is cloned (btrfs, XFS)
//! passes       copied twice while it runs, then frozen while what changed is copied again
//! ```
//!
//! Below them there is none: a node that cannot be frozen, or not for long enough, is refused by name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use countersign_sandbox::subvolume;
use serde::{Deserialize, Serialize};

use crate::durable::OnDisk;
use crate::state::StateError;

/// One way to get a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// By the node's own command.
    Checkpoint,
    /// From a snapshot of its subvolume.
    Subvolume,
    /// File by file, sharing blocks.
    Reflink,
    /// File by file, byte by byte.
    Passes,
}

impl Rung {
    /// What it is, to a person.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Checkpoint => "the node's own checkpoint command",
            Self::Subvolume => "frozen for a snapshot of its btrfs subvolume",
            Self::Reflink => "frozen while changed files are cloned",
            Self::Passes => "frozen while changed files are copied",
        }
    }
}

/// The directory entry of a subvolume inside a snapshot: its content is not there.
pub(super) const NOT_TAKEN: u64 = 2;

/// Which rung below the checkpoint the state in `data` can be copied by, into the directory `scratch`: each is tried.
///
/// # Errors
/// One of them cannot be read or written.
pub fn probe(data: &Path, scratch: &Path) -> Result<Rung, StateError> {
    let name = format!("probe-{}", std::process::id());
    let place = scratch.join(&name);
    if snapshot(data, scratch, &name).on_disk("look at", data)? {
        super::scratch::remove_below(scratch, &place)?;
        return Ok(Rung::Subvolume);
    }
    if shares_blocks(data, scratch)? { Ok(Rung::Reflink) } else { Ok(Rung::Passes) }
}

/// Takes a snapshot of `data` if it is a subvolume: `false` where it is none or cannot be taken.
pub(super) fn snapshot(data: &Path, into: &Path, name: &str) -> io::Result<bool> {
    let source = File::open(data)?;
    Ok(subvolume::is_one(&source)?
        && subvolume::snapshot(&source, &File::open(into)?, name).is_ok())
}

/// Whether a file of `from` can be cloned into `to`.
///
/// # Errors
/// One of them cannot be read or written.
pub fn shares_blocks(from: &Path, to: &Path) -> Result<bool, StateError> {
    let place = to.join(format!("clone-{}", std::process::id()));
    let Some(source) = some_file(from).on_disk("read", from)? else {
        // Nothing to clone: what two new files can do says enough.
        return shares_blocks_of(&own_file(to)?, to, &place);
    };
    shares_blocks_of(&source, to, &place)
}

fn shares_blocks_of(source: &File, dir: &Path, place: &Path) -> Result<bool, StateError> {
    super::scratch::remove_below(dir, place)?;
    let copy = File::options().write(true).create_new(true).open(place).on_disk("write", place)?;
    let shared = rustix::fs::ioctl_ficlone(&copy, source).is_ok();
    super::scratch::remove_below(dir, place)?;
    Ok(shared)
}

fn own_file(dir: &Path) -> Result<File, StateError> {
    let place = dir.join(format!("source-{}", std::process::id()));
    fs::write(&place, [1; 4096]).on_disk("write", &place)?;
    let file = File::open(&place).on_disk("read", &place)?;
    super::scratch::remove_below(dir, &place)?;
    Ok(file)
}

/// Any regular file on the file system of `dir` itself, in its first few directories.
fn some_file(dir: &Path) -> io::Result<Option<File>> {
    const FEW: usize = 64;
    let device = fs::metadata(dir)?.dev();
    let mut next = vec![dir.to_owned()];
    for _ in 0..FEW {
        let Some(dir) = next.pop() else { break };
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                next.push(entry.path());
            } else if meta.is_file()
                && meta.len() > 0
                && meta.dev() == device
                && let Ok(file) = File::open(entry.path())
            {
                return Ok(Some(file));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_subvolume_is_probed_without_leaving_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let (data, scratch) = (dir.path().join("data"), dir.path().join("scratch"));
        for dir in [&data, &scratch] {
            fs::create_dir(dir).unwrap();
        }
        let empty = probe(&data, &scratch).unwrap();
        fs::write(data.join("file"), "x").unwrap();
        assert_eq!(probe(&data, &scratch).unwrap(), empty);
        assert_ne!(empty, Rung::Checkpoint);
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    }
}
