//! The witness: who names which destination, and what is refused that would have been an attempt.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Pid;

use super::address::{self, Address};
use super::process;
use crate::attempt::Protocol;
use crate::net::{Catcher, Ledger, Question};
use crate::sys;

/// The C library's own first look-up of names, in every program: nobody is to be reached by it.
const NAME_CACHE: &[&str] = &["/var/run/nscd/socket", "/run/nscd/socket"];

/// Questions to the kernel about one's own interfaces, which every resolver asks.
const NETLINK_ROUTE: u64 = 0;

/// What the witness writes into.
pub(crate) struct Witness {
    pub(crate) ledger: Arc<Ledger>,
    /// Whether there is an eye that sees what is sent: then only names are noted here, else the attempts themselves.
    pub(crate) eye: bool,
    /// Takes the first bytes of connections, where they are asked for.
    pub(crate) catcher: Option<Catcher>,
}

/// How a destination is named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Connect,
    Send,
    /// The beginning of a TCP connection with content (`MSG_FASTOPEN`).
    FastOpen,
}

impl Witness {
    /// Notes a call. What cannot be read of it, the eye sees all the same.
    pub(super) fn hear(&self, notice: &libc::seccomp_notif, refused: bool) {
        let thread = Pid::from_raw(notice.pid.cast_signed());
        let arguments = notice.data.args;
        // Unreadable memory is the payload's: its call will fail, or it was killed.
        _ = self.note(thread, i64::from(notice.data.nr), &arguments, refused);
    }

    fn note(
        &self,
        thread: Pid,
        number: i64,
        arguments: &[u64; 6],
        refused: bool,
    ) -> io::Result<()> {
        let [first, second, third, fourth, fifth, sixth] = *arguments;
        let sent = |flags: u64| {
            let fast_open = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
            if flags & fast_open != 0 { How::FastOpen } else { How::Send }
        };
        match number {
            libc::SYS_socket if refused => self.refused(thread, socket(first, second, third)),
            libc::SYS_io_uring_setup => self.refused(thread, Some(Protocol::IoUring)),
            libc::SYS_bind => {
                if let Some(Address::Unix(name)) = address::read(thread, second, third)? {
                    self.ledger.own_socket(&name);
                }
            }
            libc::SYS_connect => {
                if let Some(to) = address::read(thread, second, third)? {
                    self.named(thread, first, How::Connect, to);
                }
            }
            libc::SYS_sendto => {
                if let Some(to) = address::read(thread, fifth, sixth)? {
                    self.named(thread, first, sent(fourth), to);
                    if !self.eye {
                        self.question(&address::content(thread, second, third)?);
                    }
                }
            }
            libc::SYS_sendmsg => self.messages(thread, first, sent(third), second, 1)?,
            libc::SYS_sendmmsg => self.messages(thread, first, sent(fourth), second, third)?,
            _ => {}
        }
        Ok(())
    }

    fn messages(
        &self,
        thread: Pid,
        descriptor: u64,
        how: How,
        pointer: u64,
        count: u64,
    ) -> io::Result<()> {
        for message in address::messages(thread, pointer, count)? {
            if let Some(to) = message.to.clone() {
                self.named(thread, descriptor, how, to);
            }
            if !self.eye {
                self.question(&message.content(thread)?);
            }
        }
        Ok(())
    }

    /// Where no name server answers, a question is heard when it is asked.
    fn question(&self, content: &[u8]) {
        if let Some(question) = Question::parse(content).filter(|q| q.is_all_of(content)) {
            self.ledger.question(question.name);
        }
    }

    fn refused(&self, thread: Pid, protocol: Option<Protocol>) {
        if let Some(protocol) = protocol {
            self.ledger.told(protocol, None, None, || process::of(thread));
        }
    }

    fn named(&self, thread: Pid, descriptor: u64, how: How, to: Address) {
        match to {
            Address::Internet(to) => self.internet(thread, descriptor, how, to),
            Address::Unix(name) => {
                if !is_own(&name) {
                    self.ledger.told(Protocol::Unix, None, Some(name), || process::of(thread));
                }
            }
        }
    }

    fn internet(&self, thread: Pid, descriptor: u64, how: How, to: SocketAddr) {
        if self.ledger.is_own(to) {
            return;
        }
        let kind = || {
            let process = process::group(thread)?;
            let descriptor = i32::try_from(descriptor & 0xffff_ffff).ok()?;
            sys::socket_kind(process, descriptor).ok()
        };
        if !self.eye {
            let protocol = protocol(to, how, kind());
            return self.ledger.told(protocol, Some(to), None, || process::of(thread));
        }
        let datagram = || kind().is_some_and(|(kind, _)| kind == libc::SOCK_DGRAM);
        let datagram = (how == How::Send).then_some(datagram);
        self.ledger.named(to, thread.as_raw(), || process::of(thread), datagram);
        if let Some(catcher) = &self.catcher
            && how != How::Send
        {
            catcher.expect(to, || kind().is_none_or(|(kind, _)| kind == libc::SOCK_STREAM));
        }
    }
}

/// What a refused `socket` would have been; `None` where it could have reached nobody.
fn socket(family: u64, kind: u64, protocol: u64) -> Option<Protocol> {
    let family = i32::try_from(family & 0xffff_ffff).unwrap_or(-1);
    match family {
        // SOCK_PACKET, the ancient way to a packet socket.
        libc::AF_INET | libc::AF_INET6 if kind & 0xf == 10 => Some(Protocol::Packet),
        libc::AF_INET | libc::AF_INET6 => Some(Protocol::Raw),
        libc::AF_PACKET => Some(Protocol::Packet),
        libc::AF_VSOCK => Some(Protocol::Vsock),
        libc::AF_NETLINK if protocol & 0xffff_ffff == NETLINK_ROUTE => None,
        libc::AF_NETLINK => Some(Protocol::Netlink),
        // The kernel's ciphers, and no family at all.
        libc::AF_ALG | libc::AF_UNSPEC => None,
        other => u16::try_from(other).ok().map(Protocol::Family),
    }
}

/// The protocol of an attempt that nothing was sent of.
fn protocol(to: SocketAddr, how: How, kind: Option<(i32, i32)>) -> Protocol {
    if to.port() == crate::net::NAMES_PORT {
        return Protocol::Dns;
    }
    match kind {
        Some((_, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6)) => Protocol::Icmp,
        Some((libc::SOCK_STREAM, libc::IPPROTO_TCP | libc::IPPROTO_MPTCP)) => Protocol::Tcp,
        Some((libc::SOCK_DGRAM, libc::IPPROTO_UDP)) => Protocol::Udp,
        Some((_, other)) => u8::try_from(other).map_or(Protocol::Tcp, Protocol::Other),
        None if how == How::Send => Protocol::Udp,
        None => Protocol::Tcp,
    }
}

/// Whether a socket is one that the payload made itself, or that was made for it. One in a read-only mount leads out.
fn is_own(name: &str) -> bool {
    if NAME_CACHE.contains(&name) {
        return true;
    }
    if name.starts_with('@') {
        let bound = fs::read_to_string("/proc/self/net/unix").unwrap_or_default();
        return bound.lines().any(|line| line.split_whitespace().last() == Some(name));
    }
    let path = Path::new(name);
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket && statvfs(path).is_ok_and(|at| !at.flags().contains(FsFlags::ST_RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_socket_is_told_by_what_it_would_have_reached() {
        let told = |family: i32, kind: i32, protocol: u64| {
            socket(u64::from(family.unsigned_abs()), u64::from(kind.unsigned_abs()), protocol)
        };
        assert_eq!(told(libc::AF_INET, libc::SOCK_RAW, 1), Some(Protocol::Raw));
        assert_eq!(told(libc::AF_INET, 10, 0), Some(Protocol::Packet));
        assert_eq!(told(libc::AF_VSOCK, libc::SOCK_STREAM, 0), Some(Protocol::Vsock));
        assert_eq!(told(libc::AF_NETLINK, libc::SOCK_RAW, 0), None);
        assert_eq!(told(libc::AF_NETLINK, libc::SOCK_RAW, 16), Some(Protocol::Netlink));
        assert_eq!(told(libc::AF_BLUETOOTH, libc::SOCK_STREAM, 3), Some(Protocol::Family(31)));
    }
}
