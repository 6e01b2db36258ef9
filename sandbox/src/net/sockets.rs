//! Sockets made inside the sandbox's network for others to use.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, setsockopt,
    socket,
};

/// As many as the kernel's own default limit lets wait.
const BACKLOG: i32 = 4096;

/// A socket of the address's family, for that family only, that is closed on exec.
pub(super) fn new(address: &SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if address.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    Ok(socket)
}

/// A listening TCP socket.
pub(crate) fn listen(address: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = new(address, SockType::Stream)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(*address))?;
    nix::sys::socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

/// A TCP socket that has a source port and no destination yet. Whoever connects it, wherever the
/// process lives, connects inside this network.
pub(crate) fn unconnected(to: &SocketAddr) -> io::Result<(OwnedFd, u16)> {
    bound(to, SockType::Stream)
}

/// The same for datagrams.
pub(crate) fn undirected(to: &SocketAddr) -> io::Result<OwnedFd> {
    bound(to, SockType::Datagram).map(|(socket, _)| socket)
}

fn bound(to: &SocketAddr, kind: SockType) -> io::Result<(OwnedFd, u16)> {
    let socket = new(to, kind)?;
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, 0)))?;
    let port = local_port(&socket)?;
    Ok((socket, port))
}

fn local_port(socket: &OwnedFd) -> io::Result<u16> {
    let name: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    name.as_sockaddr_in()
        .map(|name| name.port())
        .or_else(|| name.as_sockaddr_in6().map(|name| name.port()))
        .ok_or_else(|| io::Error::other("a socket without a port"))
}
