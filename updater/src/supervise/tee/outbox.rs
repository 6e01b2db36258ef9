//! What waits to be told to the agent: bounded, and nobody waits for it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::wire::{self, HEAD, Way, What};

/// Bytes that may wait for an agent that is slow.
const ROOM: usize = 4 << 20;

/// What is always left for short words.
const RESERVE: usize = 256 << 10;

/// Copies on their way to the agent.
#[derive(Debug)]
pub(super) struct Outbox {
    /// `None` once the agent is gone.
    to: Option<UnixStream>,
    waiting: VecDeque<u8>,
    began: Instant,
    taken: u64,
    lost: u64,
    /// Connections whose loss there was no room to tell yet.
    untold: Vec<u64>,
}

impl Outbox {
    pub(super) fn new(to: UnixStream) -> io::Result<Self> {
        to.set_nonblocking(true)?;
        Ok(Self {
            to: Some(to),
            waiting: VecDeque::new(),
            began: Instant::now(),
            taken: 0,
            lost: 0,
            untold: Vec::new(),
        })
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().map(AsFd::as_fd)
    }

    /// Something short. `false`: there was no room, or nobody.
    pub(super) fn say(&mut self, connection: u64, what: &What) -> bool {
        let (kind, payload) = what.parts();
        self.push(kind, connection, &payload, ROOM)
    }

    /// A connection begins. `false`: it is not copied.
    pub(super) fn open(&mut self, connection: u64, socket: &str) -> bool {
        self.taken += 1;
        let told = self.say(connection, &What::Open(socket.to_owned()));
        self.lost += u64::from(!told);
        told
    }

    /// A copy of what goes `way`. `false`: nothing more of this connection is taken.
    pub(super) fn copy(&mut self, connection: u64, way: Way, bytes: &[u8]) -> bool {
        let mut pieces = bytes.chunks(wire::LONGEST);
        pieces.all(|piece| self.push(What::bytes(way), connection, piece, ROOM - RESERVE))
    }

    /// Copies of this connection end before it does.
    pub(super) fn lose(&mut self, connection: u64) {
        self.lost += 1;
        self.untold.push(connection);
    }

    fn push(&mut self, kind: (u8, u8), connection: u64, payload: &[u8], room: usize) -> bool {
        if self.to.is_none() || self.waiting.len() + HEAD + payload.len() > room {
            return false;
        }
        wire::write(&mut self.waiting, kind, connection, self.began.elapsed(), payload);
        true
    }

    pub(super) fn count(&mut self) {
        let counts = What::Counts(self.taken, self.lost);
        self.say(0, &counts);
    }

    /// Hands on what can be handed on without waiting.
    pub(super) fn flush(&mut self) {
        while let Some(connection) = self.untold.pop() {
            if !self.say(connection, &What::Lost) {
                self.untold.push(connection);
                break;
            }
        }
        let Some(to) = &mut self.to else {
            self.untold.clear();
            return;
        };
        while !self.waiting.is_empty() {
            match to.write(self.waiting.as_slices().0) {
                Ok(0) => return self.end(),
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.end(),
            }
        }
    }

    /// Whether the agent is there still: it says nothing, but it may hang up.
    pub(super) fn is_heard(&mut self) -> bool {
        let Some(to) = &mut self.to else { return false };
        match to.read(&mut [0; 16]) {
            Ok(0) => self.end(),
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => self.end(),
            },
        }
        self.to.is_some()
    }

    /// Nobody listens any more.
    fn end(&mut self) {
        self.to = None;
        self.waiting = VecDeque::new();
    }
}
