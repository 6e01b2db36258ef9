//! What an IP packet is about, read from its first bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The number of UDP-Lite (RFC 3828).
pub(crate) const UDP_LITE: u8 = 136;

/// The part of a packet that tells of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub(crate) destination: IpAddr,
    pub(crate) inside: Inside<'a>,
}

/// What a packet carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inside<'a> {
    /// A TCP connection's first segment.
    Syn { from: u16, to: u16 },
    /// A UDP datagram and the beginning of its content; `whole` when that is all of it.
    Udp { from: u16, to: u16, content: &'a [u8], whole: bool },
    /// A UDP-Lite datagram. Its ports are not those of UDP: nobody of ours has any.
    Lite { to: u16 },
    /// An echo request or another ICMP message that a program sends.
    Icmp { echo: bool },
    /// Answers, errors, later segments, what the kernel says by itself.
    Nothing,
    /// Another protocol, by its number.
    Other(u8),
}

impl Packet<'_> {
    /// Destination address and port.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        match self.inside {
            Inside::Syn { to, .. } | Inside::Udp { to, .. } | Inside::Lite { to } => {
                Some(SocketAddr::new(self.destination, to))
            }
            _ => None,
        }
    }
}

/// Reads a packet that starts with its IP header; `None` when it is no IP packet.
pub(crate) fn parse(bytes: &[u8]) -> Option<Packet<'_>> {
    match bytes.first()? >> 4 {
        4 => parse_v4(bytes),
        6 => parse_v6(bytes),
        _ => None,
    }
}

fn parse_v4(bytes: &[u8]) -> Option<Packet<'_>> {
    let header = usize::from(bytes.first()? & 0xf) * 4;
    let destination: [u8; 4] = bytes.get(16..20)?.try_into().ok()?;
    let later_fragment = u16_at(bytes, 6)? & 0x1fff != 0;
    let protocol = *bytes.get(9)?;
    let inside = if later_fragment {
        Inside::Nothing
    } else {
        inside(protocol, bytes.get(header..)?, false)
    };
    Some(Packet { destination: IpAddr::from(Ipv4Addr::from(destination)), inside })
}

fn parse_v6(bytes: &[u8]) -> Option<Packet<'_>> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const OPTIONS: u8 = 60;
    let destination: [u8; 16] = bytes.get(24..40)?.try_into().ok()?;
    let destination = IpAddr::from(Ipv6Addr::from(destination));
    let mut next = *bytes.get(6)?;
    let mut rest = bytes.get(40..)?;
    loop {
        let length = match next {
            HOP_BY_HOP | ROUTING | OPTIONS => (usize::from(*rest.get(1)?) + 1) * 8,
            FRAGMENT if u16_at(rest, 2)? & 0xfff8 != 0 => {
                return Some(Packet { destination, inside: Inside::Nothing });
            }
            FRAGMENT => 8,
            protocol => {
                return Some(Packet { destination, inside: inside(protocol, rest, true) });
            }
        };
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
}

fn inside(protocol: u8, bytes: &[u8], v6: bool) -> Inside<'_> {
    const ICMP: u8 = 1;
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const ICMP_V6: u8 = 58;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    match protocol {
        TCP => match (u16_at(bytes, 0), u16_at(bytes, 2), bytes.get(13)) {
            (Some(from), Some(to), Some(flags)) if flags & (SYN | ACK) == SYN => {
                Inside::Syn { from, to }
            }
            _ => Inside::Nothing,
        },
        UDP => match (u16_at(bytes, 0), u16_at(bytes, 2), u16_at(bytes, 4)) {
            (Some(from), Some(to), Some(length)) => {
                let content = bytes.get(8..).unwrap_or_default();
                Inside::Udp { from, to, content, whole: usize::from(length) == content.len() + 8 }
            }
            _ => Inside::Other(protocol),
        },
        UDP_LITE => u16_at(bytes, 2).map_or(Inside::Other(protocol), |to| Inside::Lite { to }),
        // Echo reply 0, unreachable 3, redirect 5, time exceeded 11, parameter problem 12: answers.
        ICMP if !v6 => match bytes.first() {
            Some(0 | 3 | 5 | 11 | 12) => Inside::Nothing,
            kind => Inside::Icmp { echo: kind == Some(&8) },
        },
        // Errors 1 to 4, echo reply 129, multicast and neighbour housekeeping 130 to 137 and 143.
        ICMP_V6 if v6 => match bytes.first() {
            Some(1..=4 | 129..=137 | 143) => Inside::Nothing,
            kind => Inside::Icmp { echo: kind == Some(&128) },
        },
        other => Inside::Other(other),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet =
            vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 1, 2, 3, 4, 9, 8, 7, 6];
        packet.extend(payload);
        packet
    }

    #[test]
    fn a_first_segment_is_told_from_its_answer() {
        let mut segment = vec![0x10, 0, 0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02];
        let packet = v4(6, &segment);
        let parsed = parse(&packet).unwrap();
        assert_eq!(parsed.destination, IpAddr::from([9, 8, 7, 6]));
        assert_eq!(parsed.inside, Inside::Syn { from: 4096, to: 443 });
        segment[13] = 0x12;
        assert_eq!(parse(&v4(6, &segment)).unwrap().inside, Inside::Nothing);
    }

    #[test]
    fn extension_headers_hide_nothing() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 60, 64];
        packet.extend([0; 16]);
        packet.extend([0x20; 16]);
        packet.extend([17, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([0, 9, 0, 53, 0, 9, 0, 0, 7]);
        let parsed = parse(&packet).unwrap();
        let whole = true;
        assert_eq!(parsed.inside, Inside::Udp { from: 9, to: 53, content: &[7], whole });
    }

    #[test]
    fn cut_off_packets_end_quietly() {
        let whole = v4(17, &[0, 9, 0, 53, 0, 8, 0, 0]);
        for length in 0..whole.len() {
            _ = parse(&whole[..length]);
        }
    }
}
