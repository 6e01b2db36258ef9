//! Calls that the walls must refuse, for the self-test. Neither does anything where it is let through.

use std::io;

/// What the kernel says to a keyring operation that does not exist, or the filter before it.
pub(crate) fn keyctl_nothing() -> io::Error {
    const NO_OPERATION: libc::c_long = 0xffff;
    let zero: libc::c_long = 0;
    // SAFETY: integers only.
    match unsafe { libc::syscall(libc::SYS_keyctl, NO_OPERATION, zero, zero, zero, zero) } {
        -1 => io::Error::last_os_error(),
        _ => io::Error::other("it was done"),
    }
}

/// A call by the numbers of x32 programs: `getpid`, which takes and touches nothing. Returns where nobody kills for it.
pub(crate) fn foreign_call() {
    const X32: libc::c_long = 0x4000_0000;
    // SAFETY: no arguments; where the kernel has no such calls it says so.
    unsafe { libc::syscall(X32 | libc::SYS_getpid) };
}
