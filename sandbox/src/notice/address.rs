//! Socket addresses as a payload has them in its memory.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use nix::unistd::Pid;

use super::process;
use crate::sys;

/// `sizeof(struct sockaddr_storage)`: the kernel takes no longer one.
const LONGEST: usize = 128;
/// `sizeof(struct mmsghdr)` on 64-bit machines.
const MESSAGE: usize = 64;
/// `sizeof(struct msghdr)`.
const HEADER: usize = 56;
/// The kernel sends no more at once (`UIO_MAXIOV`).
const MOST_MESSAGES: usize = 1024;

/// Somebody whom a payload names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// At this address of the internet; an IPv4 address in IPv6 clothes is taken out of them.
    Internet(SocketAddr),
    /// At this socket: a path made absolute, or `@` and an abstract name.
    Unix(String),
}

/// The address at `pointer`, of `length` bytes; `None` for one that names nobody.
pub(super) fn read(thread: Pid, pointer: u64, length: u64) -> io::Result<Option<Address>> {
    let length = usize::try_from(length & 0xffff_ffff).unwrap_or(usize::MAX);
    if pointer == 0 || !(2..=LONGEST).contains(&length) {
        return Ok(None);
    }
    let mut bytes = [0; LONGEST];
    let bytes = &mut bytes[..length];
    let read = sys::read_memory(thread, pointer, bytes)?;
    Ok(parse(bytes.get(..read).unwrap_or_default(), || here(thread)))
}

/// A message that is to be sent.
pub(super) struct Message {
    /// Where to, if it says so itself.
    pub(super) to: Option<Address>,
    /// Where its parts are listed in memory.
    parts: u64,
}

impl Message {
    /// The beginning of its first part, or of all if it has one.
    pub(super) fn content(&self, thread: Pid) -> io::Result<Vec<u8>> {
        let mut part = [0; 16];
        if sys::read_memory(thread, self.parts, &mut part)? < part.len() {
            return Ok(Vec::new());
        }
        match (word::<8>(&part, 0), word::<8>(&part, 8)) {
            (Some(at), Some(length)) => {
                content(thread, u64::from_ne_bytes(at), u64::from_ne_bytes(length))
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// At most 512 bytes from `pointer`: a question to a name server is not longer.
pub(super) fn content(thread: Pid, pointer: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length.min(512)).unwrap_or(0)];
    let read = sys::read_memory(thread, pointer, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The headers of the messages at `pointer`.
pub(super) fn messages(thread: Pid, pointer: u64, count: u64) -> io::Result<Vec<Message>> {
    let count = usize::try_from(count & 0xffff_ffff).unwrap_or(MOST_MESSAGES).min(MOST_MESSAGES);
    // The last header need not be followed by the count of what was sent of it.
    let mut headers = vec![0; (count * MESSAGE).saturating_sub(MESSAGE - HEADER)];
    let read = sys::read_memory(thread, pointer, &mut headers)?;
    let headers = headers.get(..read).unwrap_or_default();
    headers
        .chunks(MESSAGE)
        .filter_map(|header| {
            // `struct msghdr` begins with the name's address and its length, then come the parts.
            Some((word::<8>(header, 0)?, word::<4>(header, 8)?, word::<8>(header, 16)?))
        })
        .map(|(name, length, parts)| {
            let length = u32::from_ne_bytes(length);
            let to = self::read(thread, u64::from_ne_bytes(name), length.into())?;
            Ok(Message { to, parts: u64::from_ne_bytes(parts) })
        })
        .collect()
}

fn parse(bytes: &[u8], here: impl FnOnce() -> Option<PathBuf>) -> Option<Address> {
    let family = i32::from(u16::from_ne_bytes(word(bytes, 0)?));
    let port = || word(bytes, 2).map(u16::from_be_bytes);
    match family {
        // Where a datagram is sent, no family is IPv4's; where one connects, nothing is reached by it.
        libc::AF_INET | libc::AF_UNSPEC => {
            let address = Ipv4Addr::from(word::<4>(bytes, 4)?);
            Some(Address::Internet(SocketAddr::new(address.into(), port()?)))
        }
        libc::AF_INET6 => {
            let address = Ipv6Addr::from(word::<16>(bytes, 8)?);
            let address = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
            Some(Address::Internet(SocketAddr::new(address, port()?)))
        }
        libc::AF_UNIX => unix(bytes.get(2..)?, here).map(Address::Unix),
        _ => None,
    }
}

fn unix(name: &[u8], here: impl FnOnce() -> Option<PathBuf>) -> Option<String> {
    match name {
        [] => None,
        [0, rest @ ..] => Some(format!("@{}", rest.escape_ascii())),
        path => {
            let path = path.split(|byte| *byte == 0).next()?;
            if path.is_empty() {
                return None;
            }
            let path = PathBuf::from(String::from_utf8_lossy(path).into_owned());
            let path = if path.is_absolute() { path } else { here()?.join(path) };
            Some(plain(&path).to_string_lossy().into_owned())
        }
    }
}

/// Without `.` and `..`, so that one socket has one name; links are not followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => _ = plain.pop(),
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}

fn here(thread: Pid) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{}/cwd", process::group(thread)?)).ok()
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(family: i32, rest: &[u8]) -> Option<Address> {
        let family = u16::try_from(family).unwrap().to_ne_bytes();
        parse(&[&family, rest].concat(), || Some("/srv/./x".into()))
    }

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them() {
        let internet = |text: &str| Some(Address::Internet(text.parse().unwrap()));
        let unix = |text: &str| Some(Address::Unix(text.to_owned()));
        let v4 = [1, 187, 9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(named(libc::AF_INET, &v4), internet("9.8.7.6:443"));
        let mut v6 = vec![0, 53, 0, 0, 0, 0];
        v6.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 9, 8, 7, 6]);
        assert_eq!(named(libc::AF_INET6, &v6), internet("9.8.7.6:53"));
        assert_eq!(named(libc::AF_UNIX, b"/run/../tmp/s\0rest"), unix("/tmp/s"));
        assert_eq!(named(libc::AF_UNIX, b"s"), unix("/srv/x/s"));
        assert_eq!(named(libc::AF_UNIX, b"\0a\xff"), unix("@a\\xff"));
        assert_eq!(named(libc::AF_UNIX, b""), None);
        assert_eq!(named(libc::AF_VSOCK, &[0; 14]), None);
    }

    #[test]
    fn addresses_that_are_cut_off_name_nobody() {
        for length in 0..6 {
            assert_eq!(named(libc::AF_INET, &[1; 6][..length]), None);
            assert_eq!(named(libc::AF_INET6, &[1; 22][..length]), None);
        }
    }
}
