//! The ledger: every attempt once with its count, who named its destination, and which address was handed out for
//! which name.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::packet::{Inside, Packet, UDP_LITE};
use super::{dns, eye, hello};
use crate::attempt::{Attempt, Process, Protocol};

/// Different attempts kept, so that a report can be read; more are counted as unaccounted.
const MOST_ATTEMPTS: usize = 512;

/// Destinations whose namers are remembered, and how many of each.
const MOST_NAMED: usize = 4096;
const MOST_PROCESSES: usize = 4;

/// Threads of which it is remembered that they were looked at, for each destination.
const MOST_THREADS: usize = 64;

/// Names that get an address; later ones do not resolve.
const MOST_NAMES: u32 = 4096;

/// The first address handed out, in 198.18.0.0/15, which is set aside for tests of networks (RFC 2544).
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);

/// The same in a unique local range (RFC 4193).
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0xfdc5, 0xc0de, 0, 0, 0, 0, 0, 0x100);

/// What has been seen so far, shared by the eye, the name server and the control channel.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Debug)]
struct Book {
    start: Instant,
    attempts: HashMap<Key, Entry>,
    /// What processes have named, whether anything was sent there or not.
    named: HashMap<SocketAddr, Named>,
    /// Unix sockets that the payload made, by name.
    own: HashSet<String>,
    /// First bytes of connections, by where they went.
    caught: HashMap<SocketAddr, (Vec<u8>, Option<String>)>,
    /// How many first bytes are kept of one attempt.
    first_bytes: usize,
    names: HashMap<String, u32>,
    by_number: Vec<String>,
    /// Source port and destination of connections made for the caller.
    probes: HashSet<(u16, SocketAddr)>,
    declared: Vec<SocketAddr>,
    seen: Seen,
}

type Key = (Protocol, Option<IpAddr>, Option<u16>, Option<String>);

/// What is known of the attempts of one key.
#[derive(Debug)]
struct Entry {
    after: Duration,
    count: u64,
    processes: Vec<Process>,
    first_bytes: Vec<u8>,
}

/// Who named a destination.
#[derive(Debug)]
struct Named {
    after: Duration,
    threads: HashSet<i32>,
    processes: Vec<Process>,
    sends: Sends,
}

/// How many datagrams were to go there by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sends {
    /// Nobody has looked yet.
    Unknown,
    /// The socket is none of datagrams.
    None,
    Some(u64),
}

/// Packets seen, whether attempts or not, to be compared with the kernel's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: u64,
    pub(crate) datagrams: u64,
    pub(crate) echoes: u64,
    /// Attempts that the ledger had no room for.
    pub(crate) unlisted: u64,
    /// Datagrams that had no way out, told by who sent them.
    pub(crate) told: u64,
}

impl Ledger {
    /// An empty ledger; connections to `declared` addresses are the payload's business. Of each attempt, so many
    /// first bytes are kept.
    pub(crate) fn new(declared: Vec<SocketAddr>, first_bytes: usize) -> Self {
        Self(Mutex::new(Book {
            start: Instant::now(),
            attempts: HashMap::new(),
            named: HashMap::new(),
            own: HashSet::new(),
            caught: HashMap::new(),
            first_bytes,
            names: HashMap::new(),
            by_number: Vec::new(),
            probes: HashSet::new(),
            declared,
            seen: Seen::default(),
        }))
    }

    /// The payload starts now.
    pub(crate) fn start(&self) {
        self.book().start = Instant::now();
    }

    /// A connection that is about to be made for the caller.
    pub(crate) fn expect_probe(&self, from: u16, to: SocketAddr) {
        self.book().probes.insert((from, to));
    }

    /// Notes a packet.
    pub(crate) fn note(&self, packet: &Packet<'_>) {
        self.book().note(packet);
    }

    /// Notes a question that came to the name server by a connection.
    pub(crate) fn note_question(&self, server: IpAddr, name: &str) {
        let key = (Protocol::Dns, Some(server), Some(dns::PORT), Some(name.to_owned()));
        self.book().count(key, &[]);
    }

    /// Whether a destination is the payload itself.
    pub(crate) fn is_own(&self, to: SocketAddr) -> bool {
        let loopback = eye::is_loopback(to.ip()) || to.ip().is_unspecified();
        (loopback && to.port() != dns::PORT) || self.book().declared.contains(&to)
    }

    /// A thread names a destination. `process` and `datagram` are asked where that is new.
    pub(crate) fn named(
        &self,
        to: SocketAddr,
        thread: i32,
        process: impl FnOnce() -> Option<Process>,
        datagram: Option<impl FnOnce() -> bool>,
    ) {
        let mut book = self.book();
        let after = book.start.elapsed();
        if book.named.len() >= MOST_NAMED && !book.named.contains_key(&to) {
            return;
        }
        let named = book.named.entry(to).or_insert_with(|| Named {
            after,
            threads: HashSet::new(),
            processes: Vec::new(),
            sends: Sends::Unknown,
        });
        let room = named.processes.len() < MOST_PROCESSES && named.threads.len() < MOST_THREADS;
        if room && named.threads.insert(thread) {
            let process = process();
            let known = |one: &Process| named.processes.iter().any(|known| known.pid == one.pid);
            let news = process.filter(|process| !known(process));
            named.processes.extend(news);
        }
        if let Some(datagram) = datagram {
            named.sends = match named.sends {
                Sends::Some(count) => Sends::Some(count + 1),
                Sends::Unknown if datagram() => Sends::Some(1),
                Sends::Unknown | Sends::None => Sends::None,
            };
        }
    }

    /// An attempt of which nothing can be seen but that somebody tells it.
    pub(crate) fn told(
        &self,
        protocol: Protocol,
        to: Option<SocketAddr>,
        name: Option<String>,
        process: impl FnOnce() -> Option<Process>,
    ) {
        let mut book = self.book();
        if protocol == Protocol::Unix && name.as_ref().is_some_and(|name| book.own.contains(name)) {
            return;
        }
        let key = (protocol, to.map(|to| to.ip()), to.map(|to| to.port()), name);
        let known = book.attempts.contains_key(&key);
        book.count(key.clone(), &[]);
        if !known && let Some(entry) = book.attempts.get_mut(&key) {
            entry.processes.extend(process());
        }
    }

    /// A question that is told: name servers were named before without one.
    pub(crate) fn question(&self, name: String) {
        let mut book = self.book();
        let nameless = |(protocol, _, _, name): &Key| *protocol == Protocol::Dns && name.is_none();
        let keys: Vec<Key> = book.attempts.keys().filter(|key| nameless(key)).cloned().collect();
        for key in keys {
            let Some(entry) = book.attempts.remove(&key) else { continue };
            let (protocol, to, port, _) = key;
            let known = book.attempts.entry((protocol, to, port, Some(name.clone())));
            known.and_modify(|known| known.count += entry.count).or_insert(entry);
        }
    }

    /// A unix socket that the payload makes: connections to it are its own business, earlier ones too.
    pub(crate) fn own_socket(&self, name: &str) {
        let mut book = self.book();
        if book.own.len() < MOST_NAMED {
            book.own.insert(name.to_owned());
        }
        book.attempts.remove(&(Protocol::Unix, None, None, Some(name.to_owned())));
    }

    /// The first bytes of a connection.
    pub(crate) fn caught(&self, to: SocketAddr, bytes: &[u8]) {
        let mut book = self.book();
        let kept = bytes.get(..book.first_bytes.min(bytes.len())).unwrap_or_default().to_vec();
        book.caught.insert(to, (kept, hello::server_name(bytes)));
    }

    /// The addresses which stand for a name; `None` when there are too many names.
    pub(crate) fn resolve(&self, name: &str) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let mut book = self.book();
        let known = book.names.get(name).copied();
        let number = match known {
            Some(number) => number,
            None => {
                let number =
                    u32::try_from(book.by_number.len()).ok().filter(|n| *n < MOST_NAMES)?;
                book.names.insert(name.to_owned(), number);
                book.by_number.push(name.to_owned());
                number
            }
        };
        let v4 = Ipv4Addr::from(u32::from(FIRST_V4) + number);
        let v6 = Ipv6Addr::from(u128::from(FIRST_V6) + u128::from(number));
        Some((v4, v6))
    }

    /// All attempts so far, by the time of the first.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let book = self.book();
        let mut attempts: Vec<Attempt> =
            book.attempts.iter().map(|(key, entry)| book.attempt(key, entry)).collect();
        attempts.extend(book.unsent().map(|(to, named, count)| Attempt {
            after: named.after,
            protocol: Protocol::Udp,
            destination: Some(to.ip()),
            port: Some(to.port()),
            name: book.name_of(to.ip()),
            count,
            processes: named.processes.clone(),
            first_bytes: Vec::new(),
            server_name: None,
        }));
        attempts.sort_by(|a, b| {
            (a.after, a.protocol, a.destination, a.port).cmp(&(
                b.after,
                b.protocol,
                b.destination,
                b.port,
            ))
        });
        attempts
    }

    /// How much was seen.
    pub(crate) fn seen(&self) -> Seen {
        let book = self.book();
        let told = book.unsent().map(|(_, _, count)| count).sum();
        Seen { told, ..book.seen }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // No code panics while it holds the lock, so a poisoned ledger is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn note(&mut self, packet: &Packet<'_>) {
        let to = packet.destination;
        let target = packet.target();
        let declared = target.is_some_and(|target| self.declared.contains(&target));
        // Port 53 is the name server's alone, at every address: nobody talks to himself there.
        let named = target.is_some_and(|target| target.port() == dns::PORT);
        let ours = (eye::is_loopback(to) && !named) || declared;
        match packet.inside {
            Inside::Syn { from, to: port } => {
                self.seen.connections += 1;
                let probe = target.is_some_and(|target| self.probes.contains(&(from, target)));
                if !ours && !probe {
                    self.count((Protocol::Tcp, Some(to), Some(port), None), &[]);
                }
            }
            Inside::Udp { from, to: port, content, whole } => {
                self.seen.datagrams += 1;
                // What comes from port 53 are the name server's answers.
                if from != dns::PORT && (named || !eye::is_loopback(to)) {
                    self.datagram(to, port, content, whole);
                }
            }
            Inside::Lite { to: port } => {
                self.seen.datagrams += 1;
                if !eye::is_loopback(to) {
                    self.count((Protocol::Other(UDP_LITE), Some(to), Some(port), None), &[]);
                }
            }
            Inside::Icmp { echo } => {
                self.seen.echoes += u64::from(echo);
                if !ours {
                    self.count((Protocol::Icmp, Some(to), None, None), &[]);
                }
            }
            Inside::Other(protocol) if !ours => {
                self.count((Protocol::Other(protocol), Some(to), None, None), &[])
            }
            Inside::Other(_) | Inside::Nothing => {}
        }
    }

    /// A question is told by its name. One that was sent elsewhere than to the given name server, or with
    /// something besides, could carry anything to anybody, and is told as a datagram too.
    fn datagram(&mut self, to: IpAddr, port: u16, content: &[u8], whole: bool) {
        let question = if port == dns::PORT { dns::Question::parse(content) } else { None };
        let plain = whole
            && to == IpAddr::V4(dns::SERVER)
            && question.as_ref().is_some_and(|question| question.is_all_of(content));
        if let Some(question) = question {
            self.count((Protocol::Dns, Some(to), Some(port), Some(question.name)), &[]);
        }
        if !plain {
            self.count((Protocol::Udp, Some(to), Some(port), None), content);
        }
    }

    fn count(&mut self, key: Key, content: &[u8]) {
        let full = self.attempts.len() >= MOST_ATTEMPTS;
        let after = self.start.elapsed();
        match self.attempts.get_mut(&key) {
            Some(entry) => entry.count += 1,
            None if full => self.seen.unlisted += 1,
            None => {
                let first_bytes = content.get(..self.first_bytes.min(content.len()));
                let first_bytes = first_bytes.unwrap_or_default().to_vec();
                let entry = Entry { after, count: 1, processes: Vec::new(), first_bytes };
                self.attempts.insert(key, entry);
            }
        }
    }

    fn attempt(&self, (protocol, destination, port, name): &Key, entry: &Entry) -> Attempt {
        let to = destination.map(|ip| SocketAddr::new(ip, port.unwrap_or(0)));
        let mut processes = entry.processes.clone();
        if processes.is_empty() {
            // A protocol without ports is named with whatever port.
            let same = |named: &SocketAddr| Some(named.ip()) == *destination && port.is_none();
            let named = to.and_then(|to| self.named.get(&to));
            let named = named.or_else(|| {
                self.named.iter().find(|(named, _)| same(named)).map(|(_, named)| named)
            });
            processes = named.map(|named| named.processes.clone()).unwrap_or_default();
        }
        let caught = to.filter(|_| *protocol == Protocol::Tcp).and_then(|to| self.caught.get(&to));
        let (first_bytes, server_name) = match caught {
            Some((bytes, name)) => (bytes, name.clone()),
            None => (&entry.first_bytes, None),
        };
        Attempt {
            after: entry.after,
            protocol: *protocol,
            destination: *destination,
            port: *port,
            name: name.clone().or_else(|| self.name_of((*destination)?)),
            count: entry.count,
            processes,
            first_bytes: first_bytes.clone(),
            server_name,
        }
    }

    /// Datagrams that were to go somewhere by name, where the eye has seen none: there was no way out for them.
    fn unsent(&self) -> impl Iterator<Item = (SocketAddr, &Named, u64)> {
        let seen: HashSet<SocketAddr> = self
            .attempts
            .keys()
            .filter_map(|(_, ip, port, _)| Some(SocketAddr::new((*ip)?, (*port)?)))
            .collect();
        self.named.iter().filter_map(move |(to, named)| match named.sends {
            Sends::Some(count) if !seen.contains(to) => Some((*to, named, count)),
            _ => None,
        })
    }

    fn name_of(&self, address: IpAddr) -> Option<String> {
        let number = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4).checked_sub(u32::from(FIRST_V4))?),
            IpAddr::V6(v6) => u128::from(v6).checked_sub(u128::from(FIRST_V6))?,
        };
        self.by_number.get(usize::try_from(number).ok()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(from: u16, to: SocketAddr) -> Packet<'static> {
        Packet { destination: to.ip(), inside: Inside::Syn { from, to: to.port() } }
    }

    #[test]
    fn attempts_at_one_place_are_one_line_with_the_name_it_was_handed_out_for() {
        let ledger = Ledger::new(Vec::new(), 0);
        let (v4, _) = ledger.resolve("home.example").unwrap();
        let to = SocketAddr::new(v4.into(), 443);
        ledger.note(&syn(1, to));
        ledger.note(&syn(2, to));
        let attempts = ledger.attempts();
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].count, 2);
        assert_eq!(attempts[0].name.as_deref(), Some("home.example"));
    }

    #[test]
    fn talking_to_oneself_and_being_talked_to_are_no_attempts() {
        let declared: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let probed: SocketAddr = "10.0.0.2:80".parse().unwrap();
        let ledger = Ledger::new(vec![declared], 0);
        ledger.expect_probe(7, probed);
        ledger.note(&syn(1, "127.0.0.1:5".parse().unwrap()));
        ledger.note(&syn(1, "[::1]:5".parse().unwrap()));
        ledger.note(&syn(1, declared));
        ledger.note(&syn(7, probed));
        assert_eq!(ledger.attempts(), []);
        assert_eq!(ledger.seen().connections, 4);
        ledger.note(&syn(7, "10.0.0.3:80".parse().unwrap()));
        assert_eq!(ledger.attempts().len(), 1);
    }

    #[test]
    fn no_more_attempts_are_listed_than_can_be_read_and_the_rest_is_counted() {
        let ledger = Ledger::new(Vec::new(), 0);
        for port in 0..2000 {
            ledger.note(&syn(1, SocketAddr::new([203, 0, 113, 9].into(), port)));
        }
        assert_eq!(ledger.attempts().len(), MOST_ATTEMPTS);
        assert_eq!(ledger.seen().unlisted, 2000 - MOST_ATTEMPTS as u64);
    }

    #[test]
    fn a_name_keeps_its_address() {
        let ledger = Ledger::new(Vec::new(), 0);
        let first = ledger.resolve("a.example");
        assert_ne!(ledger.resolve("b.example"), first);
        assert_eq!(ledger.resolve("a.example"), first);
    }
}
