//! Mounts as descriptors: made and sealed while detached, attached when finished (Linux 5.12).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::check;

const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = 0o2_000_000;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A file system that is being configured.
#[derive(Debug)]
pub(crate) struct FsContext(OwnedFd);

/// A mount that lies nowhere yet, or the handle of one that was attached.
#[derive(Debug)]
pub(crate) struct Detached(OwnedFd);

impl FsContext {
    /// Starts a file system of this type.
    pub(crate) fn open(kind: &CStr) -> io::Result<Self> {
        // SAFETY: a NUL-terminated string that lives through the call.
        let fd = check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
        Ok(Self(take(fd)))
    }

    /// Sets an option.
    pub(crate) fn set(&self, key: &CStr, value: &str) -> io::Result<()> {
        let value = CString::new(value)?;
        self.config(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// Sets an option that has no value.
    pub(crate) fn flag(&self, key: &CStr) -> io::Result<()> {
        self.config(FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
    }

    /// Creates the file system and a mount of it with these `MOUNT_ATTR_` flags.
    pub(crate) fn mount(self, flags: u64) -> io::Result<Detached> {
        self.config(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
        // SAFETY: a live descriptor and integers.
        let fd = check(unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, flags)
        })?;
        Ok(Detached(take(fd)))
    }

    fn config(
        &self,
        command: u32,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> io::Result<()> {
        // SAFETY: key and value are null or NUL-terminated strings of the caller's that live through the call,
        // as the three commands used here expect.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0)
        })?;
        Ok(())
    }
}

impl Detached {
    /// A copy of what is at `path` (links followed), with everything mounted below it.
    pub(crate) fn copy_of(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let recursive = u32::try_from(libc::AT_RECURSIVE).unwrap_or_default();
        // SAFETY: a NUL-terminated string that lives through the call.
        let fd = check(unsafe {
            libc::syscall(
                libc::SYS_open_tree,
                libc::AT_FDCWD,
                path.as_ptr(),
                OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive,
            )
        })?;
        Ok(Self(take(fd)))
    }

    /// A copy of the mount at the open file or directory `at`, from there down.
    pub(crate) fn copy_at(at: BorrowedFd<'_>) -> io::Result<Self> {
        let empty = u32::try_from(libc::AT_EMPTY_PATH).unwrap_or_default();
        // SAFETY: a live descriptor and an empty NUL-terminated string.
        let fd = check(unsafe {
            libc::syscall(
                libc::SYS_open_tree,
                at.as_raw_fd(),
                c"".as_ptr(),
                OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | empty,
            )
        })?;
        Ok(Self(take(fd)))
    }

    /// Sets `MOUNT_ATTR_` flags on it and all below, and cuts it off from propagation.
    pub(crate) fn seal(&self, flags: u64) -> io::Result<()> {
        self.change(&MountAttr {
            set: flags,
            clear: 0,
            propagation: libc::MS_PRIVATE,
            userns_fd: 0,
        })
    }

    /// Shows the owners of its files as the maps of this user namespace say (Linux 5.12, where the file system can).
    pub(crate) fn map_ids(&self, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let userns_fd = u64::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?;
        self.change(&MountAttr { set: MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, userns_fd })
    }

    fn change(&self, attr: &MountAttr) -> io::Result<()> {
        // SAFETY: a live descriptor, an empty string, and one live struct of the size told.
        check(unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
                std::ptr::from_ref(attr),
                size_of::<MountAttr>(),
            )
        })?;
        Ok(())
    }

    /// Attaches it on the open file or directory `target`.
    pub(crate) fn attach(&self, target: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: two live descriptors and two empty strings.
        check(unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                target.as_raw_fd(),
                c"".as_ptr(),
                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
            )
        })?;
        Ok(())
    }

    /// The mount's own descriptor.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Detached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn take(fd: libc::c_long) -> OwnedFd {
    let fd = i32::try_from(fd).unwrap_or(-1);
    // SAFETY: the kernel has just returned this descriptor to us; nothing else owns it. Descriptors fit an i32.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
