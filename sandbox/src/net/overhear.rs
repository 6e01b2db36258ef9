//! Datagrams of this machine's own network, overheard: not isolation, but here is where packets are read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use libc::sock_filter;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::error::Error;
use crate::{sys, wire};

/// The longest packet.
const LONGEST: usize = 1 << 16;

/// Overhears the datagrams to and from one UDP port of this network namespace. Nobody else is disturbed: the kernel hands
/// over copies, and drops what is not taken in time.
#[derive(Debug)]
pub struct Overhearing {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// A datagram, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What it says.
    pub content: Vec<u8>,
}

impl Overhearing {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`Error::Missing`] `packet sockets` without `CAP_NET_RAW` in this namespace's user namespace.
    pub fn of_port(port: u16) -> Result<Self, Error> {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket =
                socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)?;
            sys::attach_filter(socket.as_fd(), &filter(port))?;
            Ok(socket)
        };
        let missing = |error: io::Error| Error::Missing {
            capability: "packet sockets".to_owned(),
            reason: format!("datagrams are overheard with CAP_NET_RAW, as root has it: {error}"),
        };
        Ok(Self { socket: open().map_err(missing)?, buffer: vec![0; LONGEST] })
    }

    /// The next one, if it comes within `wait`.
    ///
    /// # Errors
    /// The socket failed.
    pub fn next(&mut self, wait: Duration) -> io::Result<Option<Datagram>> {
        if wire::wait([(self.socket.as_fd(), PollFlags::POLLIN)], Some(wait))? != [true] {
            return Ok(None);
        }
        match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(parse(self.buffer.get(..length).unwrap_or_default())),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many were lost for want of room since the last call.
    ///
    /// # Errors
    /// The socket cannot be asked.
    pub fn lost(&self) -> io::Result<u64> {
        sys::packet_drops(self.socket.as_fd())
    }
}

/// A packet that the filter let through, from its IP header on.
fn parse(packet: &[u8]) -> Option<Datagram> {
    let (from, to, udp) = match packet.first()? >> 4 {
        4 => {
            let head = usize::from(packet.first()? & 0xf) * 4;
            let address = |at| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
            (IpAddr::V4(address(12)?), IpAddr::V4(address(16)?), packet.get(head..)?)
        }
        _ => {
            let address = |at| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
            (IpAddr::V6(address(8)?), IpAddr::V6(address(24)?), packet.get(40..)?)
        }
    };
    let number = |at| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk::<2>()?));
    Some(Datagram {
        from: SocketAddr::new(from, number(0)?),
        to: SocketAddr::new(to, number(2)?),
        content: udp.get(8..usize::from(number(4)?))?.to_vec(),
    })
}

/// Whole UDP datagrams to or from `port`; of loopback, which shows each twice, those on their way out.
fn filter(port: u16) -> Vec<sock_filter> {
    const LD_B_ABS: u16 = 0x30;
    const LD_H_ABS: u16 = 0x28;
    const LD_W_ABS: u16 = 0x20;
    const LD_H_IND: u16 = 0x48;
    const LDX_B_MSH: u16 = 0xb1;
    const AND: u16 = 0x54;
    const JEQ: u16 = 0x15;
    const RET: u16 = 0x06;
    const PACKET_TYPE: u32 = 0xffff_f000 + 4;
    const INTERFACE: u32 = 0xffff_f000 + 8;
    const TO_US: u32 = 0;
    const OUTGOING: u32 = 4;
    const LOOPBACK: u32 = 1;
    const UDP: u32 = 17;
    let op = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let port = u32::from(port);
    vec![
        /* 0 */ op(LD_W_ABS, 0, 0, PACKET_TYPE),
        /* 1 */ op(JEQ, 3, 0, OUTGOING),
        /* 2 */ op(JEQ, 0, 20, TO_US),
        /* 3 */ op(LD_W_ABS, 0, 0, INTERFACE),
        /* 4 */ op(JEQ, 18, 0, LOOPBACK),
        /* 5 */ op(LD_B_ABS, 0, 0, 0),
        /* 6 */ op(AND, 0, 0, 0xf0),
        /* 7 */ op(JEQ, 1, 0, 0x40),
        /* 8 */ op(JEQ, 10, 14, 0x60),
        // IPv4: no fragments; ports behind a header of variable length.
        /* 9 */
        op(LD_B_ABS, 0, 0, 9),
        /* 10 */ op(JEQ, 0, 12, UDP),
        /* 11 */ op(LD_H_ABS, 0, 0, 6),
        /* 12 */ op(AND, 0, 0, 0x3fff),
        /* 13 */ op(JEQ, 0, 9, 0),
        /* 14 */ op(LDX_B_MSH, 0, 0, 0),
        /* 15 */ op(LD_H_IND, 0, 0, 0),
        /* 16 */ op(JEQ, 7, 0, port),
        /* 17 */ op(LD_H_IND, 0, 0, 2),
        // IPv6 without extension headers.
        /* 18 */
        op(JEQ, 5, 4, port),
        /* 19 */ op(LD_B_ABS, 0, 0, 6),
        /* 20 */ op(JEQ, 0, 2, UDP),
        /* 21 */ op(LD_H_ABS, 0, 0, 40),
        /* 22 */ op(JEQ, 1, 2, port),
        /* 23 */ op(RET, 0, 0, 0),
        /* 24 */ op(RET, 0, 0, 0xffff),
        /* 25 */ op(LD_H_ABS, 0, 0, 42),
        /* 26 */ op(JEQ, 0, 1, port),
        /* 27 */ op(RET, 0, 0, 0xffff),
        /* 28 */ op(RET, 0, 0, 0),
    ]
}
