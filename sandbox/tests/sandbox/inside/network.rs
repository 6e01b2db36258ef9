//! Payloads that talk, to others or to themselves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{ready, show};
use crate::world::PATIENCE;

pub(super) fn udp(to: &str) {
    let from = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(from).unwrap();
    socket.set_broadcast(true).unwrap();
    show(to, socket.send_to(b"hello", to).map(drop));
}

/// A ping, as a plain user may send it.
pub(super) fn ping(to: &str) {
    use nix::sys::socket::{MsgFlags, SockProtocol, SockaddrIn, sendto};
    let flags = SockFlag::empty();
    let socket =
        socket(AddressFamily::Inet, SockType::Datagram, flags, SockProtocol::Icmp).unwrap();
    let to: SockaddrIn = to.parse().unwrap();
    sendto(socket.as_raw_fd(), &[8, 0, 0, 0, 0, 1, 0, 1], &to, MsgFlags::empty()).unwrap();
}

pub(super) fn resolve(name: &str) {
    match (name, 443).to_socket_addrs() {
        Ok(addresses) => {
            for address in addresses {
                println!("{address}");
            }
        }
        Err(error) => println!("{name}: {error}"),
    }
}

/// A datagram of UDP-Lite, from the port that answers of a name server come from.
pub(super) fn udp_lite(to: &str) {
    use nix::sys::socket::{MsgFlags, SockaddrIn, bind, sendto};
    // SAFETY: three numbers.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) };
    if raw < 0 {
        return show("socket", Err::<(), _>(std::io::Error::last_os_error()));
    }
    // SAFETY: the kernel has just made it for us.
    let socket = unsafe { std::os::fd::OwnedFd::from_raw_fd(raw) };
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 53)).unwrap();
    let to: SockaddrIn = to.parse().unwrap();
    sendto(socket.as_raw_fd(), b"secret", &to, MsgFlags::empty()).unwrap();
}

fn question(name: &str) -> Vec<u8> {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    question
}

/// Asks a name server of its own choice by a datagram with something behind the question.
pub(super) fn ask(server: &str, name: &str, behind: &str) {
    let from = if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(from).unwrap();
    let datagram = [question(name).as_slice(), behind.as_bytes()].concat();
    show(server, socket.send_to(&datagram, server).map(drop));
}

/// Asks a name server of its own choice for an address, by datagram and by connection.
pub(super) fn dns(server: &str, name: &str) {
    let question = question(name);
    let mut answer = [0; 512];

    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&question).unwrap();
    let length = socket.recv(&mut answer).unwrap();
    println!("datagram {:?}", &answer[length - 4..length]);

    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(&u16::try_from(question.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&question).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    println!("stream {:?}", &answer[answer.len() - 4..]);
}

/// Talks to itself over loopback.
pub(super) fn self_talk() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    }
}

/// A server as systemd would start it: answers each connection with its names and the peer's words.
pub(super) fn serve() {
    let count: i32 = std::env::var("LISTEN_FDS").unwrap().parse().unwrap();
    let own = std::env::var("LISTEN_PID").unwrap() == std::process::id().to_string();
    let names = std::env::var("LISTEN_FDNAMES").unwrap();
    assert!(own && count == 1, "sockets for somebody else");
    // SAFETY: sd_listen_fds: descriptor 3 is ours.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    ready();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut words = [0; 5];
        stream.read_exact(&mut words).unwrap();
        stream
            .write_all(format!("{names} {}", String::from_utf8_lossy(&words)).as_bytes())
            .unwrap();
    }
}
