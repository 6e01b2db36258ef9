//! Who gets a connection: a second listening socket beside the node's, and a filter in the kernel that chooses.
//!
//! ```text
//! SO_REUSEPORT group of one address       socket 0: the node's, as ever      socket 1: the tee's
//! filter, at each SYN                     from 127.84.69.0/24: 0             random < share: 1             else: 0
//! ```
//!
//! The node's socket is the one that it always was, so what is not sampled is not touched by anything of ours. The flag is
//! set on it while it listens: Linux looks at the flag when another socket binds, and makes the group when that listens. A
//! group whose second socket is gone falls back to the first, whatever the filter says: that is how a tee that dies is
//! survived. The filter needs no privilege (classic BPF, Linux 4.5).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::sockopt::{
    AttachReusePortCbpf, IpBindAddressNoPort, Ipv6V6Only, KeepAlive, ReuseAddr, ReusePort,
    TcpNoDelay,
};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, listen,
    setsockopt, socket,
};

use crate::supervise::Share;

/// The first three numbers of the addresses that the tee calls the node from: a loopback network of its own.
pub const SOURCE: [u8; 3] = [127, 84, 69];

/// Connections that may queue before the tee.
const BACKLOG: i32 = 4096;

/// Where the tee reaches the node that listens on a socket.
///
/// # Errors
/// Why it cannot, to a person.
pub(in crate::supervise) fn reached_at(listener: &TcpListener) -> Result<SocketAddrV4, String> {
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let only_v6 = address.is_ipv6() && getsockopt(listener, Ipv6V6Only).unwrap_or(true);
    target(address, only_v6).ok_or_else(|| {
        format!("{address} is reached over IPv6 only, where the tee has no address of its own")
    })
}

pub(super) fn target(address: SocketAddr, only_v6: bool) -> Option<SocketAddrV4> {
    let v4 = match address.ip().to_canonical() {
        std::net::IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST,
        std::net::IpAddr::V4(v4) => v4,
        std::net::IpAddr::V6(v6) if v6.is_unspecified() && !only_v6 => Ipv4Addr::LOCALHOST,
        std::net::IpAddr::V6(_) => return None,
    };
    Some(SocketAddrV4::new(v4, address.port()))
}

/// What stands in the way of mirroring these sockets of a node, as far as it can be known without them.
pub fn trouble(sockets: &[(String, SocketAddr)]) -> Option<String> {
    if let Err(error) = can_steer(AddressFamily::Inet) {
        return Some(format!(
            "this kernel takes no filter on sockets that share an address: {error}"
        ));
    }
    let out = |socket: &&(String, SocketAddr)| target(socket.1, false).is_none();
    let left_out: Vec<_> = sockets.iter().filter(out).map(|(name, _)| name.as_str()).collect();
    (!left_out.is_empty()).then(|| format!("not mirrored: {}", left_out.join(", ")))
}

/// Lets others of this user listen beside it, or no longer.
pub(in crate::supervise) fn open_to_others(listener: &TcpListener, open: bool) -> io::Result<()> {
    Ok(setsockopt(listener, ReusePort, &open)?)
}

/// Sets which share of new connections the second socket of a group gets; `None`: none. Any socket of the group will do.
pub(in crate::supervise) fn steer(listener: &impl AsFd, share: Option<Share>) -> io::Result<()> {
    let mut filter = program(share);
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len, filter: filter.as_mut_ptr() };
    Ok(setsockopt(listener, AttachReusePortCbpf, &program)?)
}

fn program(share: Option<Share>) -> Vec<sock_filter> {
    const LD_B_ABS: u16 = 0x30;
    const LD_W_ABS: u16 = 0x20;
    const RSH: u16 = 0x74;
    const JEQ: u16 = 0x15;
    const JGE: u16 = 0x35;
    const RET: u16 = 0x06;
    /// From the network header on: the packet is shown from its TCP header on.
    const NET: u32 = 0xfff0_0000;
    const IPV4_SOURCE: u32 = NET + 12;
    const RANDOM: u32 = 0xffff_f000 + 56;
    let op = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let Some(share) = share else { return vec![op(RET, 0, 0, 0)] };
    let [a, b, c] = SOURCE;
    vec![
        /* 0 */ op(LD_B_ABS, 0, 0, NET),
        /* 1 */ op(RSH, 0, 0, 4),
        /* 2 */ op(JEQ, 0, 3, 4),
        /* 3 */ op(LD_W_ABS, 0, 0, IPV4_SOURCE),
        /* 4 */ op(RSH, 0, 0, 8),
        /* 5 */ op(JEQ, 3, 0, u32::from_be_bytes([0, a, b, c])),
        /* 6 */ op(LD_W_ABS, 0, 0, RANDOM),
        /* 7 */ op(JGE, 1, 0, share.of_random()),
        /* 8 */ op(RET, 0, 0, 1),
        /* 9 */ op(RET, 0, 0, 0),
    ]
}

/// A socket that listens beside the node's on `address`. Nothing is lost if it is let go of with an empty queue only.
pub(super) fn join(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let own = socket(family, SockType::Stream, flags, None)?;
    if address.is_ipv6() {
        setsockopt(&own, Ipv6V6Only, &false)?;
    }
    setsockopt(&own, ReuseAddr, &true)?;
    setsockopt(&own, ReusePort, &true)?;
    // What is accepted has these too. A client that vanishes is noticed, as by a node that asks for that.
    setsockopt(&own, TcpNoDelay, &true)?;
    setsockopt(&own, KeepAlive, &true)?;
    // A kernel that takes no filter is found out before anybody can be sent here; and this one may have none before it
    // listens, or Linux takes its group for another one.
    can_steer(family)?;
    bind(own.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&own, Backlog::new(BACKLOG)?)?;
    steer(&own, None)?;
    Ok(TcpListener::from(own))
}

fn can_steer(family: AddressFamily) -> io::Result<()> {
    let trial = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&trial, ReusePort, &true)?;
    steer(&trial, None)
}

/// A socket that calls the node from an address of the tee's; `number` spreads calls over the network, so that its
/// ports last.
fn caller(number: u64) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let own = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&own, TcpNoDelay, &true)?;
    setsockopt(&own, IpBindAddressNoPort, &true)?;
    let [a, b, c] = SOURCE;
    let last = u8::try_from(number % 254).unwrap_or_default() + 1;
    let from = SocketAddrV4::new(Ipv4Addr::new(a, b, c, last), 0);
    bind(own.as_raw_fd(), &SockaddrStorage::from(SocketAddr::V4(from)))?;
    Ok(own)
}

/// Calls the node. The second value says whether it is connected already.
pub(super) fn call(node: SocketAddrV4, number: u64) -> io::Result<(TcpStream, bool)> {
    let own = caller(number)?;
    match connect(own.as_raw_fd(), &SockaddrStorage::from(SocketAddr::V4(node))) {
        Ok(()) => Ok((TcpStream::from(own), true)),
        Err(Errno::EINPROGRESS) => Ok((TcpStream::from(own), false)),
        Err(error) => Err(error.into()),
    }
}

/// Finds out whether calls from the tee's network reach the node's address, without disturbing the node.
pub(super) fn rehearse(node: SocketAddrV4) -> io::Result<()> {
    let stand_in = TcpListener::bind(SocketAddrV4::new(*node.ip(), 0))?;
    let SocketAddr::V4(address) = stand_in.local_addr()? else { return Ok(()) };
    let own = caller(0)?;
    let flags = nix::fcntl::OFlag::empty();
    nix::fcntl::fcntl(&own, nix::fcntl::FcntlArg::F_SETFL(flags))?;
    Ok(connect(own.as_raw_fd(), &SockaddrStorage::from(SocketAddr::V4(address)))?)
}

/// Makes the end of a connection an abrupt one (RST), as its other half was.
pub(super) fn abort(stream: &TcpStream) {
    let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    let _gone_already = setsockopt(stream, nix::sys::socket::sockopt::Linger, &now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_called_over_ipv4_where_it_can_be_and_else_not_at_all() {
        for (address, only_v6, wanted) in [
            ("0.0.0.0:80", false, Some("127.0.0.1:80")),
            ("192.0.2.7:80", false, Some("192.0.2.7:80")),
            ("[::]:80", false, Some("127.0.0.1:80")),
            ("[::ffff:192.0.2.7]:80", false, Some("192.0.2.7:80")),
            ("[::]:80", true, None),
            ("[::1]:80", false, None),
        ] {
            let wanted = wanted.map(|text| text.parse().unwrap());
            assert_eq!(target(address.parse().unwrap(), only_v6), wanted, "{address}");
        }
    }
}
