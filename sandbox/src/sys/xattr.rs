//! Extended attributes of users: not every file system keeps them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Sets one on an open directory, and takes it away again.
pub(crate) fn takes_user_attributes(dir: BorrowedFd<'_>) -> io::Result<()> {
    let name = c"user.countersign.probe";
    // SAFETY: a live descriptor, a NUL-terminated name, and one byte that lives through the call.
    let set =
        unsafe { libc::fsetxattr(dir.as_raw_fd(), name.as_ptr(), c"y".as_ptr().cast(), 1, 0) };
    check(set.into())?;
    // SAFETY: a live descriptor and a NUL-terminated name.
    check(unsafe { libc::fremovexattr(dir.as_raw_fd(), name.as_ptr()) }.into())?;
    Ok(())
}
