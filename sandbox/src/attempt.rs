//! What the payload tried to reach outside itself.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Attempts of one protocol at one destination and port (and, for DNS, for one name).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When the first of them was seen, counted from the payload's start.
    pub after: Duration,
    /// How it was tried.
    pub protocol: Protocol,
    /// Where to, where the protocol has such addresses. No such machine was reached: the sandbox's own network
    /// answered or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// The port, where the protocol has one.
    pub port: Option<u16>,
    /// The DNS name asked for, or the name which the destination address was handed out for; of a unix socket, its
    /// path, or `@` and its abstract name.
    pub name: Option<String>,
    /// How many times.
    pub count: u64,
    /// Who did it, where [`Sandbox::attribute`](crate::Sandbox::attribute) asks for it: the processes that named
    /// this destination, by the time of the first, at most four. Attribution, not proof: a process may lie about
    /// its name and, for a moment, about where it goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// The first bytes of the first of them, where [`Sandbox::first_bytes`](crate::Sandbox::first_bytes) asks for
    /// them. Untrusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_bytes: Vec<u8>,
    /// The server that a TLS connection asks for, where first bytes are asked for; whether among them or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A process as seen inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number inside.
    pub pid: u32,
    /// What it calls itself (`/proc/PID/comm`).
    pub command: String,
    /// The program that it executes, inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// How the payload tried to reach somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A connection's first segment.
    Tcp,
    /// A datagram.
    Udp,
    /// A question to a name server, by datagram or by connection.
    Dns,
    /// A ping or another ICMP message that is not an answer.
    Icmp,
    /// An IP protocol by its number.
    Other(u8),
    /// A unix socket that is not the payload's own: refused, or not there.
    Unix,
    /// A raw socket of the internet's protocols: refused.
    Raw,
    /// A packet socket: refused.
    Packet,
    /// A socket to the virtual machine's host, which knows no network namespace: refused.
    Vsock,
    /// A netlink socket of another kind than questions about one's own interfaces: refused.
    Netlink,
    /// A socket of another family, by its number: refused.
    Family(u16),
    /// A ring for I/O behind every filter: refused.
    IoUring,
}
