//! The packet socket's two options that no safe library knows.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use libc::{sock_filter, sock_fprog};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::check;

/// `struct tpacket_stats`.
#[repr(C)]
#[derive(Default)]
struct PacketStatistics {
    packets: u32,
    drops: u32,
}

/// Lets the kernel drop what the filter does not want, before it costs a wake-up.
pub(crate) fn attach_filter(socket: BorrowedFd<'_>, filter: &[sock_filter]) -> io::Result<()> {
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads one sock_fprog and `len` instructions behind it, both alive; it writes to neither.
    check(libc::c_long::from(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            libc::socklen_t::try_from(size_of::<sock_fprog>()).unwrap_or_default(),
        )
    }))?;
    Ok(())
}

/// Closes a packet socket without waiting until no packet of this machine is on its way to it any more, which takes ten
/// milliseconds: the kernel's collector finds it in a message that nobody can receive, and waits in our stead. Where
/// that cannot be had, it is closed as ever.
pub(crate) fn close_unwaited(socket: OwnedFd) {
    let Ok((ours, theirs)) = UnixStream::pair() else { return };
    let fds = [socket.as_raw_fd(), theirs.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    // The message holds the very socket that it waits in.
    _ = sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::empty(), None);
    // The collector comes when the pair is closed, and takes only what nobody holds.
    drop(socket);
    drop((ours, theirs));
}

/// How many packets were lost for want of room since the last call.
pub(crate) fn packet_drops(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const PACKET_STATISTICS: libc::c_int = 6;
    let mut statistics = PacketStatistics::default();
    let mut len = libc::socklen_t::try_from(size_of::<PacketStatistics>()).unwrap_or_default();
    // SAFETY: the kernel writes at most `len` bytes into one live struct of that size, and the length.
    check(libc::c_long::from(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut len,
        )
    }))?;
    Ok(u64::from(statistics.drops))
}
