//! Ways to talk to somebody.

use std::io::{self, Read};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use super::{Given, Named, Outcome, call, done, read};

/// The live node answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// The ancient way to a packet socket.
const SOCK_PACKET: i32 = 10;

pub(super) const ALL: &[Named] = &[
    ("unix-path", |given| {
        read(UnixStream::connect(given.text("unix")).and_then(answer), "the live node answered")
    }),
    ("unix-abstract", |given| {
        let connected = SocketAddr::from_abstract_name(given.text("abstract"))
            .and_then(|address| UnixStream::connect_addr(&address));
        read(connected.and_then(answer), "the live node answered")
    }),
    ("tcp-loopback", |given| tcp(given.text("tcp"))),
    ("tcp-address", |given| tcp(given.text("tcp-address"))),
    ("udp-loopback", udp),
    ("raw", |_| made(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
    ("raw-v6", |_| made(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)),
    ("packet", |_| made(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("packet-old", |_| made(libc::AF_INET, SOCK_PACKET, 0)),
    ("netlink", |_| made(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)),
    ("vsock", |_| made(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    ("kernel-crypto", |_| made(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
];

fn answer(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

fn tcp(address: &str) -> Outcome {
    let connected = TcpStream::connect(address).and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        answer(stream)
    });
    read(connected, "the live node answered")
}

fn udp(given: &Given) -> Outcome {
    let asked = UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
        socket.connect(given.text("udp"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"?")?;
        let mut bytes = [0; 256];
        socket.recv(&mut bytes).map(|_| bytes)
    });
    read(asked, "the live node answered")
}

fn made(family: i32, kind: i32, protocol: i32) -> Outcome {
    let socket = call(libc::SYS_socket, [family as usize, kind as usize, protocol as usize]);
    done(socket, "there is such a socket")
}
