//! Copies a tree in passes: the first while it is written, the last while nothing writes, reading only what changed.
//!
//! What makes the second pass right, file by file: its times are read, then it is synced, then copied. A later
//! write changes the times: a write call at once, a store to mapped memory because the sync has write-protected the
//! page. Times have a grain, so whatever changed shortly before it was read counts as changed. File systems that do
//! not keep times for mapped memory are read in full.

mod space;
#[cfg(test)]
mod tests;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
    lchown, symlink,
};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::OFlag;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, XFS_SUPER_MAGIC, fstatfs};

use super::manifest::{Item, Manifest, escape};
use super::{StateError, blocks};
use crate::durable::{self, DiskError, OnDisk};

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
    files: BTreeMap<PathBuf, Times>,
    items: BTreeMap<PathBuf, Item>,
    skipped: BTreeSet<PathBuf>,
    times_count: bool,
}

impl Copier {
    /// A copy of the directory `from` into the new directory `to`.
    ///
    /// # Errors
    /// `to` exists, or one of them cannot be opened.
    pub fn new(from: &Path, to: &Path) -> Result<Self, StateError> {
        make_private(to).on_disk("make", to)?;
        let source = File::open(from).on_disk("read", from)?;
        let kind = fstatfs(&source).map_err(io::Error::from).on_disk("read", from)?;
        let keeps_times: [FsType; 3] = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC];
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            files: BTreeMap::new(),
            items: BTreeMap::new(),
            skipped: BTreeSet::new(),
            times_count: keeps_times.contains(&kind.filesystem_type()),
        })
    }

    /// Makes the copy as the source is, and durable. Returns how many bytes were read.
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
        let mut read = 0;
        let mut copied = Vec::new();
        self.directory(&root, Path::new(""), &before, pass, &mut read, &mut copied)?;
        for path in before.keys().rev().filter(|path| !self.items.contains_key(*path)) {
            self.files.remove(path);
            // Below what became a link or a file there is nothing of the copy, and a link may lead anywhere.
            let item = |above: &Path| self.items.get(above);
            if path
                .ancestors()
                .skip(1)
                .all(|a| matches!(item(a), None | Some(Item::Directory { .. })))
            {
                remove_copied(&self.to.join(path))?;
            }
        }
        durable::sync_file_system(&self.to)?;
        self.read_back(&copied)?;
        Ok(read)
    }

    fn directory(
        &mut self,
        dir: &File,
        path: &Path,
        before: &BTreeMap<PathBuf, Item>,
        pass: Pass,
        read: &mut u64,
        copied: &mut Vec<PathBuf>,
    ) -> Result<(), StateError> {
        let shown = self.from.join(path);
        let meta = dir.metadata().on_disk("read", &shown)?;
        let mut names: Vec<_> = fs::read_dir(within(dir, Path::new(".")))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .on_disk("read", &shown)?;
        names.sort();
        for name in names {
            let (child, shown) = (path.join(&name), shown.join(&name));
            let meta = match fs::symlink_metadata(within(dir, Path::new(&name))) {
                Ok(meta) => meta,
                Err(error) if vanished(&error) => match pass {
                    Pass::Live => continue,
                    Pass::Still => return Err(StateError::Moving(shown)),
                },
                Err(error) => return Err(DiskError::new("read", &shown, error).into()),
            };
            let kind = meta.file_type();
            let place = within(dir, Path::new(&name));
            let done = if kind.is_dir() {
                self.clear_unless(&child, before, |item| matches!(item, Item::Directory { .. }))?;
                match open_dir(&place) {
                    Ok(inner) => {
                        self.make_dir(&child)?;
                        self.directory(&inner, &child, before, pass, read, copied)?;
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            } else if kind.is_file() {
                self.clear_unless(&child, before, |item| matches!(item, Item::File { .. }))?;
                self.file(&place, &child, before, pass, read, copied)
            } else if kind.is_symlink() {
                self.clear_unless(&child, before, |_| false)?;
                self.link(&place, &child)
            } else if kind.is_socket() {
                self.skipped.insert(child);
                Ok(())
            } else {
                let what = if kind.is_fifo() { "named pipe" } else { "device" };
                return Err(StateError::Special { path: shown, what });
            };
            match done {
                Err(error) if vanished(&error) && pass == Pass::Live => {}
                Err(error) if vanished(&error) => return Err(StateError::Moving(shown)),
                other => other.on_disk("copy", &shown)?,
            }
        }
        let mode = meta.mode() & 0o7777;
        let copy = self.to.join(path);
        let now = fs::metadata(&copy).on_disk("read", &copy)?;
        if (now.uid(), now.gid()) != (meta.uid(), meta.gid()) {
            lchown(&copy, Some(meta.uid()), Some(meta.gid())).on_disk("give away", &copy)?;
        }
        fs::set_permissions(&copy, Permissions::from_mode(mode | 0o700))
            .on_disk("change the mode of", &copy)?;
        if !path.as_os_str().is_empty() {
            self.items.insert(path.to_owned(), Item::Directory { mode });
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
        before: &BTreeMap<PathBuf, Item>,
        fits: impl Fn(&Item) -> bool,
    ) -> Result<(), StateError> {
        match before.get(path) {
            Some(item) if !fits(item) => remove_copied(&self.to.join(path)),
            _ => Ok(()),
        }
    }

    fn file(
        &mut self,
        place: &Path,
        path: &Path,
        before: &BTreeMap<PathBuf, Item>,
        pass: Pass,
        read: &mut u64,
        copied: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        // A link that took the file's place meanwhile is not followed, a pipe is not waited for.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOATIME;
        let open =
            |flags: OFlag| OpenOptions::new().read(true).custom_flags(flags.bits()).open(place);
        let source = open(flags).or_else(|error| match error.kind() {
            // O_NOATIME is for the owner only.
            io::ErrorKind::PermissionDenied => open(flags - OFlag::O_NOATIME),
            _ => Err(error),
        })?;
        let meta = source.metadata()?;
        if !meta.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let times = Times::of(&meta);
        let mode = meta.mode() & 0o7777;
        let known = self.files.get(path).filter(|_| self.times_count);
        if let (Some(known), Some(Item::File { length, digest, .. })) = (known, before.get(path))
            && known.proves_unchanged(&times)
        {
            let item = Item::File { mode, length: *length, digest: *digest };
            self.items.insert(path.to_owned(), item);
            return Ok(());
        }
        if pass == Pass::Live {
            source.sync_all()?;
        }
        let to = self.to.join(path);
        if let Err(error) = fs::remove_file(&to)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
        let (digest, length) = blocks::read(&source, |offset, block| {
            *read += block.len() as u64;
            copy.write_all_at(block, offset)
        })?;
        copy.set_len(length)?;
        if pass == Pass::Still && Times::of(&source.metadata()?).moved(&times) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let now = copy.metadata()?;
        if (now.uid(), now.gid()) != (meta.uid(), meta.gid()) {
            fchown(&copy, Some(meta.uid()), Some(meta.gid()))?;
        }
        copy.set_permissions(Permissions::from_mode(mode))?;
        copy.set_modified(meta.modified()?)?;
        self.files.insert(path.to_owned(), times);
        self.items.insert(path.to_owned(), Item::File { mode, length, digest });
        copied.push(path.to_owned());
        Ok(())
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

    /// Reads the files that this pass wrote.
    fn read_back(&self, copied: &[PathBuf]) -> Result<(), StateError> {
        copied.iter().try_for_each(|path| match self.items.get(path) {
            Some(item) => check(&self.to.join(path), item),
            None => Ok(()),
        })
    }

    /// What the copy holds now.
    pub fn manifest(&self, data: u64, at: Timestamp) -> Manifest {
        let entries = self.items.iter().map(|(path, item)| (escape(path), item.clone())).collect();
        let skipped = self.skipped.iter().map(|path| escape(path)).collect();
        Manifest { format: 1, at, data, entries, skipped }
    }
}

/// Reads one file of a copy and compares it with what should be there.
pub(super) fn check(path: &Path, item: &Item) -> Result<(), StateError> {
    let Item::File { length, digest, .. } = item else { return Ok(()) };
    let file = File::open(path).on_disk("read", path)?;
    let found = blocks::read(&file, |_, _| Ok(())).on_disk("read", path)?;
    if found == (*digest, *length) { Ok(()) } else { Err(StateError::Different(path.to_owned())) }
}

/// A directory that nobody else may enter: its own mode comes last, when all that it holds has its own.
fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// A path through an open directory: whatever is renamed or linked above it, it stays in that directory.
fn within(dir: &File, name: &Path) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name)
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// It was there when the directory was listed and is not any more, or is something else now.
fn vanished(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32)
}

/// Removes what this copy holds at a path; never anything but a copy.
#[expect(clippy::disallowed_methods, reason = "only called for paths below `to`, which `new` made")]
fn remove_copied(path: &Path) -> Result<(), StateError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("remove", path, error).into())
        }
        _ => Ok(()),
    }
}
