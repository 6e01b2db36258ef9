//! What caller, keeper and init tell each other: frames of JSON over a unix socket, with descriptors.
//!
//! A frame is a length (4 bytes, little endian) and that many bytes of JSON; descriptors travel with the
//! length's first byte.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::attempt::Attempt;
use crate::capability::Found;
use crate::error::Failure;
use crate::lower::Lowerable;
use crate::running::{Exit, Usage};
use crate::spec::Plan;
use crate::sys;

/// The longest frame read: the caller's files.
const LONGEST: usize = 256 << 20;

/// Caller to keeper, the first frame. The log file, if any, travels with `Run`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Errand {
    Run(Box<Plan>),
    Probe,
}

/// Caller to init, any time after.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Connect(SocketAddr),
    /// A socket for datagrams to a loopback address.
    Datagrams(SocketAddr),
    /// The listening socket of a door.
    Door(SocketAddr),
    Attempts,
    Terminate,
    Kill,
}

/// Keeper and init to caller. After `Failed` or `Ended` comes nothing more.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Started,
    Ready,
    Exited(Exit),
    /// The answer to `Connect` and `Door`; the socket travels with it.
    Socket(Option<Failure>),
    /// The answer to `Attempts`.
    Attempts(Vec<Attempt>),
    Failed(Failure),
    Ended {
        report: Report,
        handed_back: Option<Failure>,
    },
    Probed(Vec<Found>),
}

/// Init to keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// Init will die with the keeper from now on. The answer shows that the keeper still lives.
    Hello,
    /// Init has entered a user namespace: write its maps, then answer with a byte.
    MapMe,
    Failed(Failure),
    Report(Report),
}

/// Init's last word.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) exit: Exit,
    pub(crate) left_running: u64,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) unaccounted: u64,
    pub(crate) usage: Usage,
    pub(crate) calls: BTreeSet<String>,
    pub(crate) output_truncated: bool,
    pub(crate) seen: Vec<String>,
    /// Filled in by the keeper.
    #[serde(default)]
    pub(crate) lowered: Vec<Lowerable>,
    /// Filled in by the keeper.
    #[serde(default)]
    pub(crate) memory_kills: u64,
}

/// Writes one frame.
pub(crate) fn send<T: Serialize>(
    socket: &UnixStream,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes();
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let mut sent = send_some(socket, &length, control)?;
    while sent < length.len() {
        sent += send_some(socket, length.get(sent..).unwrap_or_default(), &[])?;
    }
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        let sent = send_some(socket, rest, &[])?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

fn send_some(
    socket: &UnixStream,
    bytes: &[u8],
    control: &[ControlMessage<'_>],
) -> io::Result<usize> {
    loop {
        let parts = [IoSlice::new(bytes)];
        match sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => return Ok(sent),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads one frame; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: &UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut fds = Vec::new();
    if !read_whole(socket, &mut length, &mut fds)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::other("a frame longer than any we send"));
    }
    let mut body = vec![0; length];
    if !read_whole(socket, &mut body, &mut fds)? {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&body).map_err(io::Error::other)?, fds)))
}

fn read_whole(
    socket: &UnixStream,
    mut into: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<bool> {
    while !into.is_empty() {
        let mut control = nix::cmsg_space!([RawFd; 4]);
        let mut parts = [IoSliceMut::new(into)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let read = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => {
                for part in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = part {
                        fds.extend(raw.into_iter().map(sys::own));
                    }
                }
                message.bytes
            }
            Err(Errno::EINTR) => continue,
            Err(Errno::ECONNRESET) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            return Ok(false);
        }
        into = into.get_mut(read..).unwrap_or_default();
    }
    Ok(true)
}

/// Waits until one of the descriptors has something to read or was hung up (or one of `also`), and says
/// which have; all `false` at the time-out. Without a time-out it waits for ever.
pub(crate) fn wait<const N: usize>(
    fds: [(BorrowedFd<'_>, PollFlags); N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|(fd, flags)| PollFd::new(fd, flags));
    let timeout = match timeout {
        None => PollTimeout::NONE,
        // Rounded up, so that a deadline has passed when poll returns for it.
        Some(left) => {
            let millis = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
            PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX))
                .unwrap_or(PollTimeout::MAX)
        }
    };
    match nix::poll::poll(&mut polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.map(|fd| fd.any().unwrap_or(false)))
}

/// Whether a frame can be begun to be read now.
pub(crate) fn readable(socket: &UnixStream, timeout: Option<Duration>) -> io::Result<bool> {
    Ok(wait([(socket.as_fd(), PollFlags::POLLIN)], timeout)? == [true])
}
