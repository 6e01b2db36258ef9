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
    /// Where to. No such machine was reached: the sandbox's own network answered or refused.
    pub destination: IpAddr,
    /// The port, where the protocol has one.
    pub port: Option<u16>,
    /// The DNS name asked for, or the name which the destination address was handed out for.
    pub name: Option<String>,
    /// How many times.
    pub count: u64,
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
}
