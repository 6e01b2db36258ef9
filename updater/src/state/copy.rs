//! Copies a tree in passes: the first while it is written, the last while nothing writes, taking only what changed.
//!
//! What makes the second pass right, file by file: its times are read, then it is synced, then copied. A later
//! write changes the times: a write call at once, a store to mapped memory because the sync has write-protected the
//! page. Times have a grain, so whatever changed shortly before it was read counts as changed. File systems that do
//! not keep times for mapped memory are read in full.
//!
//! Where the file system can, a file is cloned (its blocks are shared) and read later; else its bytes are copied.
//! Holes stay holes. Hard links stay links of each other. Extended attributes and access control lists are copied.
//! Sockets hold no data and are left out; pipes and devices are refused by name.

pub mod attributes;
mod check;
mod file;
mod place;
mod space;
#[cfg(test)]
mod tests;
mod times;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, XFS_SUPER_MAGIC, fstatfs};

use super::ladder::{NOT_TAKEN, Rung};
use super::manifest::{FORMAT, Item, Manifest, escape};
use super::{Secrets, StateError, scratch};
use crate::durable::{self, OnDisk};

pub(super) use check::check;
use place::{make_private, open_dir, vanished, within};
pub use space::check_space;
use times::Times;

/// How a pass looks at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It is being written: what vanishes or changes meanwhile is left to the next pass.
    Live,
    /// Nothing writes it: what moves is an error.
    Still,
}

/// A copy in the making.
#[derive(Debug)]
pub struct Copier {
    from: PathBuf,
    to: PathBuf,
    secrets: Secrets,
    files: BTreeMap<PathBuf, Times>,
    items: BTreeMap<PathBuf, Item>,
    skipped: BTreeSet<PathBuf>,
    /// Copied, and not read back yet.
    unread: BTreeSet<PathBuf>,
    times_count: bool,
    on_btrfs: bool,
    device: u64,
    /// Whether cloning still is to be tried, and whether it worked.
    clones: bool,
    cloned: bool,
}

/// One look at the source.
struct Look {
    before: BTreeMap<PathBuf, Item>,
    pass: Pass,
    read: u64,
    /// The first path of every file with several names.
    names: HashMap<(u64, u64), PathBuf>,
}

impl Copier {
    /// A copy of the directory `from` into the new directory `to`.
    ///
    /// # Errors
    /// `to` exists, or one of them cannot be opened.
    pub fn new(from: &Path, to: &Path) -> Result<Self, StateError> {
        Self::without(&Secrets::none(), from, to)
    }

    /// A copy without what is secret.
    ///
    /// # Errors
    /// As [`Copier::new`].
    pub fn without(secrets: &Secrets, from: &Path, to: &Path) -> Result<Self, StateError> {
        make_private(to).on_disk("make", to)?;
        Self::begin(secrets, from, to)
    }

    /// A copy into the empty directory `to`.
    ///
    /// # Errors
    /// It holds something, or one of them cannot be opened.
    pub(super) fn filling(from: &Path, to: &Path) -> Result<Self, StateError> {
        if fs::read_dir(to).on_disk("read", to)?.next().is_some() {
            let error = io::Error::from(io::ErrorKind::DirectoryNotEmpty);
            return Err(error).on_disk("fill", to).map_err(StateError::from);
        }
        Self::begin(&Secrets::none(), from, to)
    }

    fn begin(secrets: &Secrets, from: &Path, to: &Path) -> Result<Self, StateError> {
        let source = File::open(from).on_disk("read", from)?;
        let kind = fstatfs(&source).map_err(io::Error::from).on_disk("read", from)?;
        let keeps_times: [FsType; 3] = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC];
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            secrets: secrets.clone(),
            files: BTreeMap::new(),
            items: BTreeMap::new(),
            skipped: BTreeSet::new(),
            unread: BTreeSet::new(),
            times_count: keeps_times.contains(&kind.filesystem_type()),
            on_btrfs: kind.filesystem_type() == BTRFS_SUPER_MAGIC,
            device: source.metadata().on_disk("read", from)?.dev(),
            clones: true,
            cloned: false,
        })
    }

    /// Makes the copy as the source is; [`Copier::settle`] makes it durable. Returns how many bytes were read.
    ///
    /// # Errors
    /// The disk fails, the source holds what cannot be copied, or, in a still pass, moves.
    pub fn pass(&mut self, pass: Pass) -> Result<u64, StateError> {
        if pass == Pass::Live {
            durable::sync_file_system(&self.from)?;
        }
        let before = std::mem::take(&mut self.items);
        self.skipped.clear();
        let root = open_dir(&self.from).on_disk("read", &self.from)?;
        let mut look = Look { before, pass, read: 0, names: HashMap::new() };
        self.directory(&root, Path::new(""), &mut look)?;
        for path in look.before.keys().rev().filter(|path| !self.items.contains_key(*path)) {
            self.files.remove(path);
            self.unread.remove(path);
            // Below what became a link or a file there is nothing of the copy, and a link may lead anywhere.
            let item = |above: &Path| self.items.get(above);
            if path
                .ancestors()
                .skip(1)
                .all(|a| matches!(item(a), None | Some(Item::Directory { .. })))
            {
                scratch::remove_below(&self.to, &self.to.join(path))?;
            }
        }
        Ok(look.read)
    }

    /// Makes what the passes copied durable, and reads it back: nobody needs to be held still for that.
    ///
    /// # Errors
    /// The disk fails, or gives back something else.
    pub fn settle(&mut self) -> Result<(), StateError> {
        durable::sync_file_system(&self.to)?;
        for path in std::mem::take(&mut self.unread) {
            let copy = self.to.join(&path);
            match self.items.get_mut(&path) {
                Some(Item::File { digest: Some(_), .. }) => {
                    check(&self.to, &path, &self.items[&path])?;
                }
                Some(Item::File { digest, length, .. }) => {
                    (*digest, *length) = check::digest(&copy)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// By which rung the files came.
    pub fn rung(&self) -> Rung {
        if self.cloned { Rung::Reflink } else { Rung::Passes }
    }

    fn directory(&mut self, dir: &File, path: &Path, look: &mut Look) -> Result<(), StateError> {
        let shown = self.from.join(path);
        let meta = dir.metadata().on_disk("read", &shown)?;
        if self.on_btrfs && meta.ino() == NOT_TAKEN {
            return Err(StateError::Nested(shown));
        }
        let mut names: Vec<_> = fs::read_dir(within(dir, Path::new(".")))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .on_disk("read", &shown)?;
        names.sort();
        for name in names {
            let (child, shown) = (path.join(&name), shown.join(&name));
            if self.secrets.cover(&child) {
                continue;
            }
            let done = match fs::symlink_metadata(within(dir, Path::new(&name))) {
                Ok(meta) => self.entry(dir, Path::new(&name), &child, &meta, look)?,
                Err(error) => Err(error),
            };
            match done {
                Err(error) if vanished(&error) && look.pass == Pass::Live => {}
                Err(error) if vanished(&error) => return Err(StateError::Moving(shown)),
                other => other.on_disk("copy", &shown)?,
            }
        }
        self.finish_directory(dir, path, &meta)
    }

    /// One thing in a directory. The inner error is the source's, which may just have gone.
    fn entry(
        &mut self,
        dir: &File,
        name: &Path,
        child: &Path,
        meta: &fs::Metadata,
        look: &mut Look,
    ) -> Result<io::Result<()>, StateError> {
        let (kind, place) = (meta.file_type(), within(dir, name));
        if kind.is_dir() {
            self.clear_unless(child, look, |item| matches!(item, Item::Directory { .. }))?;
            return match open_dir(&place) {
                Ok(inner) => {
                    self.make_dir(child)?;
                    self.directory(&inner, child, look).map(Ok)
                }
                Err(error) => Ok(Err(error)),
            };
        }
        if kind.is_file() {
            self.clear_unless(child, look, |item| matches!(item, Item::File { .. }))?;
            return Ok(self.file(&place, child, look));
        }
        if kind.is_symlink() {
            self.clear_unless(child, look, |_| false)?;
            return Ok(self.link(&place, child));
        }
        if kind.is_socket() {
            self.skipped.insert(child.to_owned());
            return Ok(Ok(()));
        }
        let what = if kind.is_fifo() { "named pipe" } else { "device" };
        Err(StateError::Special { path: self.from.join(child), what })
    }

    fn finish_directory(
        &mut self,
        dir: &File,
        path: &Path,
        meta: &fs::Metadata,
    ) -> Result<(), StateError> {
        let mode = meta.mode() & 0o7777;
        let copy = self.to.join(path);
        let now = fs::metadata(&copy).on_disk("read", &copy)?;
        if (now.uid(), now.gid()) != (meta.uid(), meta.gid()) {
            lchown(&copy, Some(meta.uid()), Some(meta.gid())).on_disk("give away", &copy)?;
        }
        fs::set_permissions(&copy, Permissions::from_mode(mode | 0o700))
            .on_disk("change the mode of", &copy)?;
        let attributes = open_dir(&copy)
            .and_then(|copy| attributes::copy(dir, &copy))
            .on_disk("give attributes to", &copy)?;
        if !path.as_os_str().is_empty() {
            self.items.insert(path.to_owned(), Item::Directory { mode, attributes });
        }
        Ok(())
    }

    fn make_dir(&self, path: &Path) -> Result<(), StateError> {
        let copy = self.to.join(path);
        match make_private(&copy) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Wide since an earlier pass, and its source may be narrow by now.
                fs::set_permissions(&copy, Permissions::from_mode(0o700))
                    .on_disk("close", &copy)?;
                Ok(())
            }
            other => Ok(other.on_disk("make", &copy)?),
        }
    }

    /// What an earlier pass copied under this name as something else makes room.
    fn clear_unless(
        &self,
        path: &Path,
        look: &Look,
        fits: impl Fn(&Item) -> bool,
    ) -> Result<(), StateError> {
        match look.before.get(path) {
            Some(item) if !fits(item) => Ok(scratch::remove_below(&self.to, &self.to.join(path))?),
            _ => Ok(()),
        }
    }

    fn link(&mut self, place: &Path, path: &Path) -> io::Result<()> {
        let target = fs::read_link(place)?;
        let (to, meta) = (self.to.join(path), fs::symlink_metadata(place)?);
        symlink(&target, &to)?;
        let now = fs::symlink_metadata(&to)?;
        if (now.uid(), now.gid()) != (meta.uid(), meta.gid()) {
            lchown(&to, Some(meta.uid()), Some(meta.gid()))?;
        }
        let target = escape(&target);
        self.items.insert(path.to_owned(), Item::Link { target });
        Ok(())
    }

    /// What the copy holds now; it must have been settled.
    pub fn manifest(&self, data: u64, at: Timestamp) -> Manifest {
        let entries = self.items.iter().map(|(path, item)| (escape(path), item.clone())).collect();
        let skipped = self.skipped.iter().map(|path| escape(path)).collect();
        let rung = Some(self.rung());
        Manifest { format: FORMAT, at, data, rung, opened: None, entries, skipped }
    }
}
