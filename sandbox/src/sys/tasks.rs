//! Looking at another process's memory and sockets.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::{check, own};

/// Reads `into.len()` bytes at `address`, or as many as can be read from there.
pub(crate) fn read_memory(thread: Pid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let base = usize::try_from(address).map_err(io::Error::other)?;
    let remote = [RemoteIoVec { base, len: into.len() }];
    Ok(process_vm_readv(thread, &mut [IoSliceMut::new(into)], &remote)?)
}

/// What kind of socket a descriptor of another process is: `SO_TYPE` and `SO_PROTOCOL`.
pub(crate) fn socket_kind(process: Pid, descriptor: i32) -> io::Result<(i32, i32)> {
    let none: libc::c_long = 0;
    // SAFETY: numbers only.
    let process = check(unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), none) })?;
    let process = own(i32::try_from(process).map_err(io::Error::other)?);
    // SAFETY: numbers only.
    let socket = check(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, none)
    })?;
    let socket = own(i32::try_from(socket).map_err(io::Error::other)?);
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
