//! Writes a copy's tree to this disk, entry by entry. Whether it is what was copied, its manifest says afterwards.
//!
//! Why not the library's own way? It unwraps what a store that fails gives back, in threads of its own.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use countersign_updater::durable::OnDisk;
use countersign_updater::state::copy::attributes::{self, Attributes};
use nix::unistd::Uid;
use rustic_core::repofile::{Node, NodeType, SnapshotFile};
use rustic_core::{IndexedFullStatus, LsOptions, RusticError};

use crate::repository::Repository;
use crate::source::{GENERATION, MANIFEST, TREE, posix_mode, worn};
use crate::{BackupError, Copy};

pub(super) type Indexed = rustic_core::Repository<IndexedFullStatus>;

/// Writes `file` below `dir`, which is empty.
pub(super) fn write(
    repository: &Repository,
    indexed: &Indexed,
    file: &SnapshotFile,
    dir: &Path,
) -> Result<(), BackupError> {
    let failed = |error: Box<RusticError>| repository.failed("read", &error);
    let top = indexed.node_from_snapshot_and_path(file, "").map_err(failed)?;
    // Only root gives files away, and by number: another machine's users have other names.
    let root = Uid::effective().is_root();
    let mut directories: Vec<(PathBuf, u32, Attributes)> = Vec::new();
    // The first name of every file that has several.
    let mut names: HashMap<(u64, u64), PathBuf> = HashMap::new();
    for entry in indexed.ls(&top, &LsOptions::default()).map_err(failed)? {
        let (path, node) = entry.map_err(failed)?;
        if !belongs(&path, &node) {
            let reason = format!("{} does not belong there", path.display());
            return Err(BackupError::NotANodes { id: Copy::of(file).id, reason });
        }
        let full = dir.join(&path);
        let mode = posix_mode(node.meta.mode.unwrap_or(0o600));
        match &node.node_type {
            NodeType::Dir => {
                fs::DirBuilder::new().mode(0o700).create(&full).on_disk("make", &full)?;
                give_away(&full, &node, root)?;
                directories.push((full.clone(), mode, worn(&node)));
            }
            NodeType::Symlink { .. } => {
                symlink(node.node_type.to_link(), &full).on_disk("make", &full)?;
                give_away(&full, &node, root)?;
            }
            _ => {
                if node.meta.links > 1 {
                    let key = (node.meta.device_id, node.meta.inode);
                    let first = names.entry(key).or_insert_with(|| full.clone());
                    if *first != full {
                        fs::hard_link(&*first, &full).on_disk("make", &full)?;
                        continue;
                    }
                }
                let mut new = OpenOptions::new();
                let new = new.write(true).create_new(true).mode(0o600).open(&full);
                let mut to = Sparse { file: new.on_disk("make", &full)?, written: Ok(()) };
                let dumped = indexed.dump(&node, &mut to);
                to.written.on_disk("write", &full)?;
                dumped.map_err(failed)?;
                to.file.set_len(node.meta.size).on_disk("write", &full)?;
                give_away(&full, &node, root)?;
                dress(&full, mode, &worn(&node))?;
                if let Some(at) = node.meta.mtime {
                    to.file.set_modified(SystemTime::from(at)).on_disk("write", &full)?;
                }
            }
        }
    }
    // What lies in them comes first: a narrow one would keep it out, and one may leave what is made in it its access list.
    for (path, mode, attributes) in directories.iter().rev() {
        dress(path, mode | 0o700, attributes)?;
    }
    Ok(())
}

fn give_away(path: &Path, node: &Node, root: bool) -> Result<(), BackupError> {
    if root && let (Some(uid), Some(gid)) = (node.meta.uid, node.meta.gid) {
        lchown(path, Some(uid), Some(gid)).on_disk("give away", path)?;
    }
    Ok(())
}

/// Attributes are set while the owner may write it; access lists after the mode, which would change them.
fn dress(path: &Path, mode: u32, wanted: &Attributes) -> Result<(), BackupError> {
    let file = File::open(path).on_disk("read", path)?;
    let give = |wanted: &Attributes| {
        attributes::give(&file, wanted).on_disk("give extended attributes to", path)
    };
    let mut own = wanted.clone();
    own.retain(|name, _| name.starts_with(b"user."));
    give(&own)?;
    file.set_permissions(Permissions::from_mode(mode)).on_disk("change the mode of", path)?;
    if own.len() < wanted.len() {
        give(wanted)?;
    }
    Ok(())
}

fn belongs(path: &Path, node: &Node) -> bool {
    let mut parts = path.components();
    let plain = parts.clone().all(|part| matches!(part, Component::Normal(_)));
    let top = parts.next().map(|part| part.as_os_str().to_owned()).unwrap_or_default();
    let inside = parts.next().is_some();
    let place = match top == TREE {
        true => inside || node.is_dir(),
        false => (top == GENERATION || top == MANIFEST) && !inside && node.is_file(),
    };
    plain && place && (node.is_dir() || node.is_file() || node.is_symlink())
}

/// A file in which zeroes are left out, as they were before.
struct Sparse {
    file: File,
    /// The library tells nobody why it could not write.
    written: io::Result<()>,
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const BLOCK: usize = 64 << 10;
        for block in bytes.chunks(BLOCK) {
            let done = match block.iter().all(|byte| *byte == 0) {
                true => self.file.seek(SeekFrom::Current(block.len() as i64)).map(|_| ()),
                false => self.file.write_all(block),
            };
            if let Err(error) = done {
                let kind = error.kind();
                self.written = Err(error);
                return Err(kind.into());
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
