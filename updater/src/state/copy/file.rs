//! One regular file: known to be the same, cloned, copied byte by byte, or another name of one that was.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use nix::fcntl::OFlag;
use rustix::io::Errno;

use super::super::{blocks, manifest::escape, scratch};
use super::{Copier, Item, Look, Pass, Times, attributes};

impl Copier {
    pub(super) fn file(&mut self, place: &Path, path: &Path, look: &mut Look) -> io::Result<()> {
        let source = open(place)?;
        let meta = source.metadata()?;
        if !meta.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if meta.nlink() > 1 {
            let first = look.names.entry((meta.dev(), meta.ino())).or_insert(path.to_owned());
            if first != path {
                let first = first.clone();
                return self.another_name(&first, path);
            }
        }
        let times = Times::of(&meta);
        let mode = meta.mode() & 0o7777;
        let known = self.files.get(path).filter(|_| self.times_count && meta.dev() == self.device);
        if let (Some(known), Some(item)) = (known, look.before.get(path))
            && matches!(item, Item::File { .. })
            && known.proves_unchanged(&times)
        {
            self.items.insert(path.to_owned(), item.clone());
            return Ok(());
        }
        if look.pass == Pass::Live {
            source.sync_all()?;
        }
        let to = self.to.join(path);
        self.make_room(&to)?;
        let copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
        let (digest, length) = if self.clone_file(&source, &copy)? {
            (None, copy.metadata()?.len())
        } else {
            let (digest, length) = blocks::read(&source, |offset, block| {
                look.read += block.len() as u64;
                copy.write_all_at(block, offset)
            })?;
            copy.set_len(length)?;
            (Some(digest), length)
        };
        if look.pass == Pass::Still && Times::of(&source.metadata()?).moved(&times) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let attributes = dress(&source, &copy, &meta)?;
        self.files.insert(path.to_owned(), times);
        self.items.insert(path.to_owned(), Item::File { mode, length, digest, attributes });
        self.unread.insert(path.to_owned());
        Ok(())
    }

    /// Shares the blocks of `source`, if the file system can. One that never can is not asked again; one that cannot for this
    /// file (another file system below, or no copy on write) is asked for the next.
    fn clone_file(&mut self, source: &File, copy: &File) -> io::Result<bool> {
        if !self.clones {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(copy, source) {
            Ok(()) => {
                self.cloned = true;
                Ok(true)
            }
            Err(Errno::XDEV | Errno::INVAL) => Ok(false),
            Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
                self.clones = false;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make_room(&self, copy: &Path) -> io::Result<()> {
        scratch::remove_below(&self.to, copy).map_err(|error| io::Error::new(error.kind(), error))
    }

    /// A name of a file that this pass has met under another one.
    fn another_name(&mut self, first: &Path, path: &Path) -> io::Result<()> {
        let to = self.to.join(path);
        self.make_room(&to)?;
        fs::hard_link(self.to.join(first), &to)?;
        self.files.remove(path);
        self.unread.remove(path);
        self.items.insert(path.to_owned(), Item::HardLink { of: escape(first) });
        Ok(())
    }
}

fn open(place: &Path) -> io::Result<File> {
    // A link that took the file's place meanwhile is not followed, a pipe is not waited for.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOATIME;
    let open = |flags: OFlag| OpenOptions::new().read(true).custom_flags(flags.bits()).open(place);
    open(flags).or_else(|error| match error.kind() {
        // O_NOATIME is for the owner only.
        io::ErrorKind::PermissionDenied => open(flags - OFlag::O_NOATIME),
        _ => Err(error),
    })
}

/// Owner, attributes, mode, time: in this order, because each undoes some of what comes later. `user.*` takes the right to
/// write, which a read-only file gives its owner only now; a mode leaves an access list as it is whose mask it already
/// was. Returns the attributes' digest.
fn dress(
    source: &File,
    copy: &File,
    meta: &Metadata,
) -> io::Result<Option<countersign_metadata::Sha256>> {
    let now = copy.metadata()?;
    if (now.uid(), now.gid()) != (meta.uid(), meta.gid()) {
        fchown(copy, Some(meta.uid()), Some(meta.gid()))?;
    }
    let mode = meta.mode() & 0o7777;
    copy.set_permissions(Permissions::from_mode(mode | 0o200))?;
    let attributes = attributes::copy(source, copy)?;
    if mode & 0o200 == 0 {
        copy.set_permissions(Permissions::from_mode(mode))?;
    }
    copy.set_modified(meta.modified()?)?;
    Ok(attributes)
}
