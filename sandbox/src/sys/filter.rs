//! Installing a seccomp filter.

use std::io;

use libc::{sock_filter, sock_fprog};

use super::check;

/// Installs the filter on this thread for good. Needs `no_new_privs`.
pub(crate) fn install_seccomp(filter: &[sock_filter]) -> io::Result<()> {
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let flags: libc::c_ulong = 0;
    // SAFETY: the kernel reads one sock_fprog and `len` instructions behind it, both alive; it writes to neither.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    Ok(())
}

/// Whether the kernel has the actions that the filter uses.
pub(crate) fn seccomp_available() -> io::Result<()> {
    let flags: libc::c_ulong = 0;
    for action in [libc::SECCOMP_RET_KILL_PROCESS, libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_TRACE]
    {
        // SAFETY: the kernel reads one live u32.
        check(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_GET_ACTION_AVAIL,
                flags,
                &raw const action,
            )
        })?;
    }
    Ok(())
}
