//! The ground the tree grows on: an empty file system, and steps that neither leave it nor write elsewhere.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::UnlinkatFlags;

use super::source::{Memory, NODEV, NOEXEC, NOSUID, RDONLY, is_dir};
use crate::capability::MOUNTS;
use crate::error::{Staged, Step};
use crate::sys::{self, Detached};

/// A directory whose files are seen only where they were laid over others. It has no name in the end.
pub(super) const HIDDEN: &str = "/.mask";

/// The root while it is filled.
pub(super) struct Ground {
    root: OwnedFd,
    /// Devices (`st_dev`) of the file systems that this sandbox made: only there are names created.
    ours: HashSet<u64>,
    /// Directories that are there, until something is mounted.
    there: RefCell<HashSet<PathBuf>>,
    /// The one of them that was last created in.
    last: RefCell<Option<(PathBuf, Rc<OwnedFd>)>>,
}

impl Ground {
    /// Covers some directory of the machine with an empty file system; in this mount namespace only.
    pub(super) fn new(bytes: u64) -> Staged<Self> {
        let flags = NOSUID | NODEV;
        let root = Memory { bytes, inodes: 1 << 20, mode: 0o755, owner: None, flags };
        let root = root.make().needs(MOUNTS)?;
        let candidates = ["/tmp", "/run", "/mnt", "/var", "/usr"];
        let base = candidates.into_iter().find(|path| Path::new(path).is_dir());
        let base = File::open(base.unwrap_or("/")).step("find a directory to build the tree on")?;
        root.attach(base.as_fd()).needs(MOUNTS)?;
        let root = root.into_fd();
        let ours = HashSet::from([fstat(&root).step("look at the new root")?.st_dev]);
        Ok(Self { root, ours, there: RefCell::default(), last: RefCell::default() })
    }

    /// Makes it the root, forgets the machine's tree, and seals it.
    pub(super) fn finish(self) -> Staged<()> {
        nix::unistd::fchdir(&self.root).step("enter the tree")?;
        nix::unistd::pivot_root(".", ".").step("make the tree the root")?;
        nix::mount::umount2(".", MntFlags::MNT_DETACH).step("leave the machine's tree")?;
        nix::unistd::chdir("/").step("enter the tree")?;
        std::fs::remove_dir_all(HIDDEN).step("remove the masks' names")?;
        let flags = MsFlags::MS_REMOUNT
            | MsFlags::MS_BIND
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .step("seal the tree")
    }

    /// Whether a file lies on a file system that this sandbox made.
    pub(super) fn is_ours(&self, stat: &FileStat) -> bool {
        self.ours.contains(&stat.st_dev)
    }

    /// What is at a path of the tree.
    pub(super) fn stat(&self, path: &Path) -> io::Result<FileStat> {
        Ok(fstat(self.resolve(path)?)?)
    }

    /// Makes a directory and those above it, unless they are there.
    pub(super) fn dir(&self, path: &Path) -> io::Result<()> {
        if self.there.borrow().contains(path) {
            return Ok(());
        }
        let mut so_far = PathBuf::from("/");
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            so_far.push(name);
            if self.there.borrow().contains(&so_far) {
                continue;
            }
            match self.resolve(&so_far) {
                Ok(found) if is_dir(&fstat(&found)?) => {}
                Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(Errno::ENOENT) => {
                    let (parent, name) = self.parent(&so_far)?;
                    mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?;
                }
                Err(error) => return Err(error.into()),
            }
            self.there.borrow_mut().insert(so_far.clone());
        }
        Ok(())
    }

    /// Writes a file, in place of what has that name.
    pub(super) fn file(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        // Init has no mask of modes.
        let make = || openat(&parent, name, flags, Mode::from_bits_truncate(0o644));
        let made = match make() {
            Err(Errno::EEXIST) => {
                nix::unistd::unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir)?;
                make()?
            }
            other => other?,
        };
        File::from(made).write_all(content)
    }

    /// Makes a symbolic link, in place of what has that name.
    pub(super) fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (parent, name) = self.vacant(path)?;
        nix::unistd::symlinkat(target, &parent, name)?;
        Ok(())
    }

    /// Lays a file or directory of the tree over another, read-only.
    pub(super) fn cover(&self, over: &Path, with: &Path) -> io::Result<()> {
        self.sealed(with)?.attach(self.resolve(over)?.as_fd())
    }

    /// A read-only copy of a file or directory of the tree, to be laid over others.
    pub(super) fn sealed(&self, path: &Path) -> io::Result<Detached> {
        let copy = Detached::copy_at(self.resolve(path)?.as_fd())?;
        copy.seal(RDONLY | NOSUID | NODEV | NOEXEC)?;
        Ok(copy)
    }

    /// Attaches a finished file system of ours at a directory, which is made if need be.
    pub(super) fn attach_made(&mut self, made: Detached, path: &Path) -> io::Result<OwnedFd> {
        self.ours.insert(fstat(made.as_fd())?.st_dev);
        self.attach(made, path)
    }

    /// Attaches a finished mount at a path, which is made if need be.
    pub(super) fn attach(&mut self, mount: Detached, path: &Path) -> io::Result<OwnedFd> {
        match self.resolve(path) {
            Ok(_) => {}
            Err(Errno::ENOENT) if is_dir(&fstat(mount.as_fd())?) => self.dir(path)?,
            Err(Errno::ENOENT) => self.file(path, b"")?,
            Err(error) => return Err(error.into()),
        }
        mount.attach(self.resolve(path)?.as_fd())?;
        if is_dir(&fstat(mount.as_fd())?) {
            self.there.borrow_mut().clear();
            self.last.take();
        }
        // The low numbers are for the sockets that the payload is given.
        sys::out_of_the_way(mount.as_fd())
    }

    /// Opens a path of the tree without ever leaving it, whatever links lie in it.
    fn resolve(&self, path: &Path) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how)
    }

    /// As [`Ground::parent`], and the name is free: a file of ours that had it is gone.
    fn vacant<'a>(&self, path: &'a Path) -> io::Result<(Rc<OwnedFd>, &'a OsStr)> {
        let (parent, name) = self.parent(path)?;
        match nix::unistd::unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok((parent, name)),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory that `path`'s last name is in, made if need be, and that name. Refuses to create
    /// anything in what is not ours.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Rc<OwnedFd>, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if let Some((_, last)) = self.last.borrow().as_ref().filter(|(last, _)| last == parent) {
            return Ok((Rc::clone(last), name));
        }
        self.dir(parent)?;
        let at = parent.to_owned();
        let parent = Rc::new(self.resolve(parent)?);
        if !self.is_ours(&fstat(&parent)?) {
            return Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                "it is not there, and nothing is created in a caller's directory",
            ));
        }
        *self.last.borrow_mut() = Some((at, Rc::clone(&parent)));
        Ok((parent, name))
    }
}
