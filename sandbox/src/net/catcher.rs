//! The catcher: takes a connection to a sinkhole address, and the first bytes of what it is to carry.
//!
//! A listener is made for exactly the address that a payload is about to connect to, while it waits; it takes one
//! connection, and from then on that address refuses again.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::IpFreebind;
use nix::sys::socket::{Backlog, SockType, SockaddrStorage, bind, setsockopt};

use super::ledger::Ledger;
use super::sockets;

/// Addresses that are listened at; connections to later ones are refused at once.
const MOST: usize = 256;

/// Bytes that are read at least, to find a TLS server's name among them.
const HELLO: usize = 2048;

/// How long a connection may stay silent before its first byte, and how long after one.
const SILENCE: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(200);

/// A running catcher.
#[derive(Debug)]
pub(crate) struct Catcher {
    coming: Arc<Mutex<Vec<Expected>>>,
    known: Mutex<HashSet<SocketAddr>>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Expected {
    at: SocketAddr,
    listener: TcpListener,
}

#[derive(Debug)]
struct Caught {
    at: SocketAddr,
    stream: TcpStream,
    bytes: Vec<u8>,
    deadline: Instant,
}

impl Catcher {
    /// Starts to catch. At most so many bytes of each are kept.
    pub(crate) fn start(ledger: Arc<Ledger>, most: usize) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let coming: Arc<Mutex<Vec<Expected>>> = Arc::default();
        let theirs = Arc::clone(&coming);
        let thread = std::thread::Builder::new().name("catcher".to_owned()).spawn(move || {
            Net { ledger, most: most.max(HELLO), expected: Vec::new(), caught: Vec::new() }
                .run(&woken, &theirs);
        })?;
        Ok(Self { coming, known: Mutex::default(), wake, thread: Some(thread) })
    }

    /// A connection to this address is about to be made, if the socket is one for connections.
    pub(crate) fn expect(&self, at: SocketAddr, connects: impl FnOnce() -> bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST || known.contains(&at) || !connects() {
            return;
        }
        known.insert(at);
        // The payload may listen at that port itself: then it reaches itself, as it would without us.
        if let Ok(listener) = listen(&at) {
            self.coming
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Expected { at, listener });
            // A catcher that is gone catches nothing.
            _ = (&self.wake).write(&[0]);
        }
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        _ = self.wake.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // What it caught until then is in the ledger.
            _ = thread.join();
        }
    }
}

fn listen(at: &SocketAddr) -> io::Result<TcpListener> {
    let socket = sockets::new(at, SockType::Stream)?;
    // Unlike IPv4, IPv6 wants an address of an interface, not only a local route.
    setsockopt(&socket, IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(*at))?;
    nix::sys::socket::listen(&socket, Backlog::new(16)?)?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Net {
    ledger: Arc<Ledger>,
    most: usize,
    expected: Vec<Expected>,
    caught: Vec<Caught>,
}

impl Net {
    fn run(mut self, woken: &UnixStream, coming: &Mutex<Vec<Expected>>) {
        loop {
            let ended = self.wait(Some(woken));
            self.expected.append(&mut coming.lock().unwrap_or_else(PoisonError::into_inner));
            self.accept();
            self.read();
            if ended {
                return self.end();
            }
        }
    }

    /// Everybody who connected is dead: what they had sent is on its way at most, and its end too.
    fn end(mut self) {
        self.expected.clear();
        let deadline = Instant::now() + SILENCE;
        for caught in &mut self.caught {
            caught.deadline = caught.deadline.min(deadline);
        }
        while !self.caught.is_empty() {
            self.wait(None);
            self.read();
        }
    }

    /// Waits for whatever comes first; `true` when nobody expects anything any more.
    fn wait(&self, woken: Option<&UnixStream>) -> bool {
        let input = PollFlags::POLLIN;
        let mut polled: Vec<_> = woken.iter().map(|w| PollFd::new(w.as_fd(), input)).collect();
        polled.extend(self.expected.iter().map(|e| PollFd::new(e.listener.as_fd(), input)));
        polled.extend(self.caught.iter().map(|c| PollFd::new(c.stream.as_fd(), input)));
        let next = self.caught.iter().map(|caught| caught.deadline).min();
        let timeout = next.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
            PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX))
        });
        // Interrupted is as good as woken.
        _ = poll(&mut polled, timeout);
        let Some(mut woken) = woken else { return true };
        loop {
            match woken.read(&mut [0; 64]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    fn accept(&mut self) {
        let caught = &mut self.caught;
        self.expected.retain(|expected| match expected.listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                let deadline = Instant::now() + SILENCE;
                caught.push(Caught { at: expected.at, stream, bytes: Vec::new(), deadline });
                false
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Ok(_) | Err(_) => false,
        });
    }

    fn read(&mut self) {
        let (ledger, most) = (&self.ledger, self.most);
        self.caught.retain_mut(|caught| {
            let done = caught.take_in(most) || Instant::now() >= caught.deadline;
            if done {
                ledger.caught(caught.at, &caught.bytes);
            }
            !done
        });
    }
}

impl Caught {
    /// Reads what there is; `true` when nothing more is to come.
    fn take_in(&mut self, most: usize) -> bool {
        let mut buffer = [0; 1024];
        loop {
            let room = most.saturating_sub(self.bytes.len()).min(buffer.len());
            if room == 0 {
                return true;
            }
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => return true,
                Ok(read) => {
                    self.bytes.extend(buffer.get(..read).unwrap_or_default());
                    self.deadline = Instant::now() + QUIET;
                }
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}
