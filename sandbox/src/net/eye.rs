//! The eye: a packet socket that sees everything which leaves a program, before anything answers.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use libc::sock_filter;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
};

use super::ledger::Ledger;
use super::packet;
use crate::{sys, wire};

/// Room for some ten thousand packets that wait for the eye.
const ROOM: usize = 32 << 20;

/// Enough of a packet for its headers and a DNS question.
const PREFIX: usize = 768;

/// A running eye.
#[derive(Debug)]
pub(crate) struct Eye {
    thread: JoinHandle<io::Result<u64>>,
    stop: UnixStream,
}

/// Whether an address is the payload itself, even on a real machine.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(v6.is_loopback(), |v4| v4.is_loopback()),
    }
}

/// A packet socket on every interface of this network namespace (there is only loopback).
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::EthAll,
    )?;
    sys::attach_filter(socket.as_fd(), &filter())?;
    // Only the machine's root may go beyond the system's limit; a smaller room shows as `unaccounted` at worst.
    if setsockopt(&socket, RcvBufForce, &ROOM).is_err() {
        setsockopt(&socket, RcvBuf, &ROOM)?;
    }
    Ok(socket)
}

impl Eye {
    /// Starts to look.
    pub(crate) fn open(socket: OwnedFd, ledger: Arc<Ledger>) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let thread = std::thread::Builder::new()
            .name("eye".to_owned())
            .spawn(move || look(socket, &stopped, &ledger))?;
        Ok(Self { thread, stop })
    }

    /// Takes in what still waits, and returns how many packets were lost for want of room.
    pub(crate) fn close(self) -> io::Result<u64> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the eye's thread ended early")))
    }
}

fn look(socket: OwnedFd, stopped: &UnixStream, ledger: &Ledger) -> io::Result<u64> {
    loop {
        let [_, stop] = wire::wait(
            [(socket.as_fd(), PollFlags::POLLIN), (stopped.as_fd(), PollFlags::POLLIN)],
            None,
        )?;
        drain(&socket, ledger)?;
        if stop {
            let drops = sys::packet_drops(socket.as_fd());
            sys::close_unwaited(socket);
            return drops;
        }
    }
}

fn drain(socket: &OwnedFd, ledger: &Ledger) -> io::Result<()> {
    let mut buffer = [0; PREFIX];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Ok(read) => {
                let seen = buffer.get(..read.min(PREFIX)).unwrap_or_default();
                if let Some(packet) = packet::parse(seen) {
                    ledger.note(&packet);
                }
            }
            Err(Errno::EAGAIN) => return Ok(()),
            // ENETDOWN and the like are told once and then gone.
            Err(Errno::EINTR | Errno::ENETDOWN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Only packets on their way out (loopback shows each twice), and of TCP only first segments, so that a
/// busy local connection costs nothing.
fn filter() -> Vec<sock_filter> {
    const LD_B_ABS: u16 = 0x30;
    const LD_B_IND: u16 = 0x50;
    const LDX_B_MSH: u16 = 0xb1;
    const AND: u16 = 0x54;
    const JA: u16 = 0x05;
    const JEQ: u16 = 0x15;
    const RET: u16 = 0x06;
    const PACKET_TYPE: u32 = 0xffff_f000 + 4;
    const OUTGOING: u32 = 4;
    const TCP: u32 = 6;
    const SYN_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    let op = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        /* 0 */ op(LD_B_ABS, 0, 0, PACKET_TYPE),
        /* 1 */ op(JEQ, 0, 16, OUTGOING),
        /* 2 */ op(LD_B_ABS, 0, 0, 0),
        /* 3 */ op(AND, 0, 0, 0xf0),
        /* 4 */ op(JEQ, 1, 0, 0x40),
        /* 5 */ op(JEQ, 5, 11, 0x60),
        // IPv4: protocol, then the flags behind a header of variable length.
        /* 6 */
        op(LD_B_ABS, 0, 0, 9),
        /* 7 */ op(JEQ, 0, 9, TCP),
        /* 8 */ op(LDX_B_MSH, 0, 0, 0),
        /* 9 */ op(LD_B_IND, 0, 0, 13),
        /* 10 */ op(JA, 0, 0, 3),
        // IPv6 without extension headers; with them the packet is passed on and read by us.
        /* 11 */
        op(LD_B_ABS, 0, 0, 6),
        /* 12 */ op(JEQ, 0, 4, TCP),
        /* 13 */ op(LD_B_ABS, 0, 0, 53),
        /* 14 */ op(AND, 0, 0, SYN_ACK),
        /* 15 */ op(JEQ, 1, 0, SYN),
        /* 16 */ op(RET, 0, 0, 0),
        /* 17 */ op(RET, 0, 0, 0x300),
        /* 18 */ op(RET, 0, 0, 0),
    ]
}
