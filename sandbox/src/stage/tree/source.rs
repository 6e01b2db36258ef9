//! What the tree is made of: detached mounts, sealed before they are attached anywhere.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major};

use super::layers;
use crate::capability::MOUNTS;
use crate::error::{Failure, Kind, Staged, Step};
use crate::options::Mount;
use crate::spec::Plan;
use crate::sys::{Detached, FsContext};

/// `MOUNT_ATTR_` flags.
pub(super) const RDONLY: u64 = 0x1;
pub(super) const NOSUID: u64 = 0x2;
pub(super) const NODEV: u64 = 0x4;
pub(super) const NOEXEC: u64 = 0x8;

/// The device nodes that a payload gets; all have major number 1.
pub(super) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// A caller's mount whose source has been taken hold of.
pub(super) enum Ready<'a> {
    /// A copy of something outside, and whether the payload may write it.
    Copy(Detached, bool),
    /// Something to be made in the tree.
    Made(&'a Mount),
}

/// Copies of all sources, while the machine's tree is still there and nothing lies above it.
pub(super) fn take_all<'a>(
    plan: &'a Plan,
    private: bool,
    lowers: &[OwnedFd],
) -> Staged<Vec<Ready<'a>>> {
    let taken: Vec<_> =
        plan.mounts.iter().map(|mount| take(mount, private)).collect::<Staged<_>>()?;
    // Last, because a lower directory is covered by its own sealed copy on the way.
    let mut maps = lowers.iter();
    taken
        .into_iter()
        .map(|ready| match ready {
            Ready::Made(Mount::Overlay { lower, upper, work, .. }) => {
                Ok(Ready::Copy(layers::lay(lower, upper, work, maps.next())?, true))
            }
            other => Ok(other),
        })
        .collect()
}

fn take(mount: &Mount, private: bool) -> Staged<Ready<'_>> {
    let (from, flags, write) = match mount {
        Mount::ReadOnly { from, .. } => (from, RDONLY | NOSUID | NODEV, false),
        Mount::Writable { from, .. } => (from, NOSUID | NODEV, true),
        other => return Ok(Ready::Made(other)),
    };
    let name = from.display().to_string();
    let copy = Detached::copy_of(from).fail(Kind::Mount, name.as_str())?;
    if private && !write {
        let stat = fstat(copy.as_fd()).fail(Kind::Mount, name.as_str())?;
        let needed = if is_dir(&stat) { 0o005 } else { 0o004 };
        if stat.st_mode & needed != needed {
            // Said now and here, not later by a payload that finds its compiler unreadable.
            return Err(Failure {
                kind: Kind::Mount,
                what: name,
                errno: None,
                text: "only its owner may read it, and the payload is another user".to_owned(),
            });
        }
    }
    copy.seal(flags).needs(MOUNTS)?;
    Ok(Ready::Copy(copy, write))
}

/// The machine's own device nodes.
pub(super) fn take_devices() -> Staged<Vec<Detached>> {
    DEVICES
        .iter()
        .map(|name| {
            let path = Path::new("/dev").join(name);
            let device = Detached::copy_of(&path).fail(Kind::Mount, path.display().to_string())?;
            let stat = fstat(device.as_fd()).step("look at a device")?;
            let kind = stat.st_mode & SFlag::S_IFMT.bits();
            if kind != SFlag::S_IFCHR.bits() || major(stat.st_rdev) != 1 {
                let reason = format!("{} is not the device of that name", path.display());
                return Err(Failure::missing("device nodes", reason));
            }
            device.seal(RDONLY | NOSUID | NOEXEC).needs(MOUNTS)?;
            Ok(device)
        })
        .collect()
}

/// A `/proc` of this process's namespaces, in which nobody sees another user's processes.
pub(super) fn proc(flags: u64) -> io::Result<Detached> {
    let proc = FsContext::open(c"proc")?;
    proc.set(c"hidepid", "invisible")?;
    proc.mount(flags | NOSUID | NODEV | NOEXEC)
}

/// The names at the top of a `/proc`, and which of them are directories.
pub(super) fn top_level(proc: &Detached) -> io::Result<Vec<(String, bool)>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = openat(proc.as_fd(), ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(fd)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push((name, entry.file_type() == Some(Type::Directory)));
        }
    }
    Ok(names)
}

/// A file system in memory, never executing set-user-id programs or opening devices.
pub(super) struct Memory {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
    pub(super) mode: u32,
    /// The owner of its root, as this process sees ids; root's own tree has none.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) flags: u64,
}

impl Memory {
    /// Makes it.
    pub(super) fn make(self) -> io::Result<Detached> {
        let tmpfs = FsContext::open(c"tmpfs")?;
        tmpfs.set(c"size", &self.bytes.max(4096).to_string())?;
        tmpfs.set(c"nr_inodes", &self.inodes.max(2).to_string())?;
        tmpfs.set(c"mode", &format!("{:o}", self.mode))?;
        if let Some((uid, gid)) = self.owner {
            tmpfs.set(c"uid", &uid.to_string())?;
            tmpfs.set(c"gid", &gid.to_string())?;
        }
        tmpfs.mount(self.flags | NOSUID | NODEV)
    }
}

pub(super) fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}
