//! Seccomp user notification: a filter whose calls wait for another process to judge them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{sock_filter, sock_fprog};

use super::check;

/// Not in `libc` for every target: wake the other side on this processor, for it waits for nothing else (Linux 6.6).
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// Room for one control message with one descriptor, aligned as the kernel wants it.
type Control = [u64; 4];

/// Installs a filter with a listener on this thread for good, and passes the listener over the socket `to`, with
/// one byte. `code` gets the address of the one message with which that is done: only so can the filter let it
/// through, for there is nobody yet who could judge it. Needs `no_new_privs`.
pub(crate) fn install_and_pass(
    to: BorrowedFd<'_>,
    code: impl FnOnce(u64) -> Vec<sock_filter>,
) -> io::Result<()> {
    let mut byte = [0_u8; 1];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
    let mut control: Control = [0; 4];
    // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let size = u32::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    // SAFETY: arithmetic on a number.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;

    let filter = code((&raw const message).addr() as u64);
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // Once the listener has taken a notice in, no signal but a deadly one may make the call begin again.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the kernel reads one sock_fprog and `len` instructions behind it, both alive; it writes to neither.
    let listener = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    // From here until the message is sent, any other system call would wait for ever.
    // SAFETY: the control buffer is alive, aligned and has room for one header and one descriptor.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
        libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(listener as libc::c_int);
    }
    // SAFETY: the kernel reads the message and what it points to, all of which is alive.
    check(unsafe {
        libc::syscall(libc::SYS_sendmsg, to.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    })?;
    Ok(())
}

/// A call that does nothing but to be told, with a word that nobody else says: `bind` of no socket.
pub(crate) fn say(word: u64) {
    let (no_socket, no_length): (libc::c_long, libc::c_long) = (-1, 0);
    // SAFETY: numbers only; there is no descriptor -1, so that the kernel follows no pointer.
    unsafe { libc::syscall(libc::SYS_bind, no_socket, word, no_length) };
}

/// Makes every notice wake the listener's process on the caller's own processor, where the kernel can.
pub(crate) fn listen_synchronously(listener: BorrowedFd<'_>) {
    // SAFETY: a live descriptor and a number. An older kernel refuses it, and is only slower.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS as libc::Ioctl,
            SYNC_WAKE_UP,
        )
    };
}

/// Takes the next notice; `None` when its caller was killed in the meantime.
pub(crate) fn receive_notice(listener: BorrowedFd<'_>) -> io::Result<Option<libc::seccomp_notif>> {
    // SAFETY: integers only; the kernel wants them zero.
    let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the number of the call holds the struct's size, which the kernel compares with its own; it writes
    // one such struct.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV as libc::Ioctl,
            &raw mut notice,
        )
    };
    match check(libc::c_long::from(result)) {
        Ok(_) => Ok(Some(notice)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the caller of notice `id` still waits for its answer.
pub(crate) fn notice_is_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one live integer.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID as libc::Ioctl,
            &raw const id,
        )
    };
    result == 0
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The kernel carries it out.
    GoOn,
    /// It fails with this error.
    Refuse(i32),
    /// It was carried out by whoever answers.
    Done,
}

/// Answers notice `id`.
pub(crate) fn answer_notice(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<()> {
    let go_on = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or_default();
    let (error, flags) = match answer {
        Answer::GoOn => (0, go_on),
        Answer::Refuse(error) => (-error.abs(), 0),
        Answer::Done => (0, 0),
    };
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: as above; the kernel reads one struct.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND as libc::Ioctl,
            &raw mut answer,
        )
    };
    match check(libc::c_long::from(result)) {
        Ok(_) => Ok(()),
        // Killed before it got its answer.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the kernel has user notification with all that is used of it (Linux 5.19).
pub(crate) fn notices_available() -> io::Result<()> {
    let action = libc::SECCOMP_RET_USER_NOTIF;
    let none: libc::c_ulong = 0;
    // SAFETY: the kernel reads one live u32.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, none, &raw const action)
    })?;
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let nowhere: *const sock_fprog = std::ptr::null();
    // SAFETY: flags are judged before the program is read, and a null program is refused with EFAULT.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, nowhere) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("a filter that is none was taken")),
    }
}
