//! Looking at another process's memory and files.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::{check, own};

/// Reads `into.len()` bytes at `address`, or as many as can be read from there.
pub(crate) fn read_memory(thread: Pid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let base = usize::try_from(address).map_err(io::Error::other)?;
    let remote = [RemoteIoVec { base, len: into.len() }];
    Ok(process_vm_readv(thread, &mut [IoSliceMut::new(into)], &remote)?)
}

/// `struct statfs` as words: the eleven that the kernel tells, and room.
pub(crate) type Disk = [i64; 15];

/// The disk that a file is on.
pub(crate) fn disk_of(file: &OwnedFd) -> io::Result<Disk> {
    const { assert!(size_of::<Disk>() == size_of::<libc::statfs>()) };
    let mut words: Disk = [0; 15];
    // SAFETY: the kernel writes one struct of the size asserted above, of which every word is an integer.
    check(libc::c_long::from(unsafe {
        libc::fstatfs(file.as_raw_fd(), words.as_mut_ptr().cast())
    }))?;
    Ok(words)
}

/// Writes where the thread itself could write; `EFAULT` if not all of it fits.
pub(crate) fn write_memory(thread: Pid, address: u64, bytes: &[u8]) -> io::Result<()> {
    let base = usize::try_from(address).map_err(io::Error::other)?;
    let remote = [RemoteIoVec { base, len: bytes.len() }];
    if process_vm_writev(thread, &[IoSlice::new(bytes)], &remote)? != bytes.len() {
        return Err(Errno::EFAULT.into());
    }
    Ok(())
}

/// A copy of another process's descriptor.
pub(crate) fn descriptor_of(process: Pid, descriptor: i32) -> io::Result<OwnedFd> {
    let none: libc::c_long = 0;
    // SAFETY: numbers only.
    let process = check(unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), none) })?;
    let process = own(i32::try_from(process).map_err(io::Error::other)?);
    // SAFETY: numbers only.
    let copy = check(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, none)
    })?;
    Ok(own(i32::try_from(copy).map_err(io::Error::other)?))
}

/// What kind of socket a descriptor of another process is: `SO_TYPE` and `SO_PROTOCOL`.
pub(crate) fn socket_kind(process: Pid, descriptor: i32) -> io::Result<(i32, i32)> {
    let socket = descriptor_of(process, descriptor)?;
    let ask = |option: libc::c_int| {
        let mut value: libc::c_int = 0;
        let mut len = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
        // SAFETY: the kernel writes at most `len` bytes into one live integer, and the length.
        check(libc::c_long::from(unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw mut value).cast(),
                &raw mut len,
            )
        }))?;
        Ok::<_, io::Error>(value)
    };
    Ok((ask(libc::SO_TYPE)?, ask(libc::SO_PROTOCOL)?))
}
