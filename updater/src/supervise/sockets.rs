//! Listening sockets: opened once, kept for ever, passed to every process of the node in turn.
//!
//! The address is what the world knows, so it is what tells one listener from another. The name that a release gives
//! it may change from one generation to the next.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use nix::sys::socket::{Backlog, listen};

use super::SuperviseError;

/// Connections that may queue while nobody accepts. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The open sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Open>);

#[derive(Debug)]
struct Open {
    name: String,
    /// As it was asked for: port 0 stays 0.
    address: SocketAddr,
    listener: TcpListener,
}

impl Sockets {
    /// What the program before this one had open.
    pub(super) fn adopt(names: &[(String, SocketAddr)], listeners: Vec<TcpListener>) -> Self {
        let open = |((name, address), listener): (&(String, SocketAddr), _)| Open {
            name: name.clone(),
            address: *address,
            listener,
        };
        Self(names.iter().zip(listeners).map(open).collect())
    }

    /// Names and addresses as they were asked for, and the sockets themselves.
    pub(super) fn let_go(self) -> (Vec<(String, SocketAddr)>, Vec<TcpListener>) {
        self.0.into_iter().map(|open| ((open.name, open.address), open.listener)).unzip()
    }

    /// Opens what is not open yet. A socket whose address stays the same is never closed, whatever its name is now;
    /// one that the generation does not want is kept until [`Sockets::keep_only`], so that the way back stays open.
    /// Only one that overlaps with what is wanted (`0.0.0.0:80` and `127.0.0.1:80`) gives way before.
    pub(super) fn open(&mut self, wanted: &[(String, SocketAddr)]) -> Result<(), SuperviseError> {
        let mut free = mem::take(&mut self.0);
        let mut missing = Vec::new();
        for (name, address) in wanted {
            // The same name first: several sockets may have asked for port 0.
            match take(&mut free, |open| open.name == *name && open.address == *address) {
                Some(open) => self.0.push(open),
                None => missing.push((name, *address)),
            }
        }
        let mut opened = Ok(());
        for (name, address) in missing {
            let listener = match take(&mut free, |open| open.address == address) {
                Some(open) => Ok(open.listener),
                None => bind_among(&mut free, address),
            };
            let name = name.clone();
            match listener {
                Ok(listener) => self.0.push(Open { name, address, listener }),
                Err(source) => {
                    opened = Err(SuperviseError::Listen { name, address, source });
                    break;
                }
            }
        }
        self.0.append(&mut free);
        opened
    }

    /// Closes what the generation that is ready now does not use.
    pub(super) fn keep_only(&mut self, wanted: &[(String, SocketAddr)]) {
        self.0.retain(|open| wanted.iter().any(|(n, a)| *n == open.name && *a == open.address));
    }

    /// Copies of the descriptors, in the order of `wanted`.
    pub(super) fn descriptors(
        &self,
        wanted: &[(String, SocketAddr)],
    ) -> Result<Vec<OwnedFd>, SuperviseError> {
        let find = |(name, address): &(String, SocketAddr)| {
            self.0.iter().find(|open| open.name == *name && open.address == *address)
        };
        let open = wanted.iter().filter_map(find);
        open.map(|open| open.listener.try_clone().map(OwnedFd::from))
            .collect::<Result<_, _>>()
            .map_err(|source| SuperviseError::System { what: "copy a listening socket", source })
    }

    /// The sockets that a generation wants, with their names.
    pub(super) fn listeners(
        &self,
        wanted: &[(String, SocketAddr)],
    ) -> impl Iterator<Item = (&str, &TcpListener)> {
        let is_wanted =
            |open: &&Open| wanted.iter().any(|(n, a)| *n == open.name && *a == open.address);
        let wanted: Vec<&Open> = self.0.iter().filter(is_wanted).collect();
        wanted.into_iter().map(|open| (open.name.as_str(), &open.listener))
    }

    /// Names and addresses. Port 0 is shown as the port that the kernel chose.
    pub(super) fn list(&self) -> Vec<(String, SocketAddr)> {
        let real = |open: &Open| open.listener.local_addr().unwrap_or(open.address);
        self.0.iter().map(|open| (open.name.clone(), real(open))).collect()
    }
}

fn take(from: &mut Vec<Open>, wanted: impl Fn(&Open) -> bool) -> Option<Open> {
    let at = from.iter().position(wanted)?;
    Some(from.remove(at))
}

/// Listens on `address`. Where only our own unused sockets are in the way, they are closed first, and opened again if
/// that was in vain.
fn bind_among(free: &mut Vec<Open>, address: SocketAddr) -> io::Result<TcpListener> {
    match bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let (in_the_way, others): (Vec<_>, Vec<_>) =
                mem::take(free).into_iter().partition(|open| overlap(open.address, address));
            *free = others;
            if in_the_way.is_empty() {
                return Err(error);
            }
            let closed: Vec<_> = in_the_way.into_iter().map(|o| (o.name, o.address)).collect();
            bind(address).inspect_err(|_| {
                let again = closed.into_iter().filter_map(|(name, address)| {
                    Some(Open { name, address, listener: bind(address).ok()? })
                });
                free.extend(again);
            })
        }
        other => other,
    }
}

/// Whether the kernel lets only one of two addresses be listened on.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (x, y) = (a.ip().to_canonical(), b.ip().to_canonical());
    a.port() == b.port() && a.port() != 0 && (x == y || x.is_unspecified() || y.is_unspecified())
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR; its backlog is short.
    let listener = TcpListener::bind(address)?;
    Backlog::new(BACKLOG).and_then(|backlog| listen(&listener, backlog))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn wanted(sockets: &[(&str, SocketAddr)]) -> Vec<(String, SocketAddr)> {
        sockets.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect()
    }

    fn free() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn a_socket_that_is_renamed_stays_open_with_what_waits_in_it() {
        let address = free();
        let mut sockets = Sockets::default();
        sockets.open(&wanted(&[("http", address)])).unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        let new = wanted(&[("web", address)]);
        sockets.open(&new).unwrap();
        sockets.keep_only(&new);
        assert_eq!(sockets.list(), new);
        let (accepted, _) = sockets.0[0].listener.accept().unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), waiting.local_addr().unwrap());
        // And the way back.
        sockets.open(&wanted(&[("http", address)])).unwrap();
        assert_eq!(sockets.list(), wanted(&[("http", address)]));
    }

    #[test]
    fn a_wider_and_a_narrower_address_give_way_to_each_other() {
        let narrow = free();
        let wide = SocketAddr::from(([0, 0, 0, 0], narrow.port()));
        let mut sockets = Sockets::default();
        for address in [narrow, wide, narrow] {
            sockets.open(&wanted(&[("http", address)])).unwrap();
            assert_eq!(sockets.list(), wanted(&[("http", address)]));
            TcpStream::connect(narrow).unwrap();
        }
    }

    #[test]
    fn what_is_no_longer_wanted_is_closed_only_after_the_new_ones_are_open() {
        let (old, other) = (free(), free());
        let mut sockets = Sockets::default();
        sockets.open(&wanted(&[("http", old)])).unwrap();
        sockets.open(&wanted(&[("http", other)])).unwrap();
        TcpStream::connect(old).unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let failed = sockets.open(&wanted(&[("http", taken.local_addr().unwrap())]));
        assert!(matches!(failed, Err(SuperviseError::Listen { .. })));
        TcpStream::connect(old).unwrap();
        sockets.keep_only(&wanted(&[("http", other)]));
        assert!(TcpStream::connect(old).is_err());
        TcpStream::connect(other).unwrap();
    }

    #[test]
    fn sockets_that_asked_for_any_port_are_not_mixed_up() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut sockets = Sockets::default();
        sockets.open(&wanted(&[("a", any), ("b", any)])).unwrap();
        let before: std::collections::BTreeMap<_, _> = sockets.list().into_iter().collect();
        sockets.open(&wanted(&[("c", any), ("a", any)])).unwrap();
        let after: std::collections::BTreeMap<_, _> = sockets.list().into_iter().collect();
        assert_eq!((after["a"], after["c"]), (before["a"], before["b"]));
    }
}
