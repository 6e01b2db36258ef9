//! One connection through the tee: client and node, as if they were connected.
//!
//! Nothing is read that the other side has not room for, so that who is slow slows the other down as ever. The end of one
//! way is the end of that way only; an abrupt end is one for both.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use nix::sys::epoll::EpollFlags;

use super::outbox::Outbox;
use super::steer;
use super::wire::{Way, What};

/// Reads of one way before others have their turn.
const TURNS: usize = 16;

/// Bytes of each way of a connection that are copied; a longer one is not compared.
const LONGEST_COPY: u64 = 4 << 20;

/// A side of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Node,
}

/// What is to be done with a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The kernel will tell.
    Wait,
    /// It has more to do at once.
    Again,
    /// Both ways have ended.
    Over,
}

#[derive(Debug)]
pub(super) struct Relay {
    id: u64,
    client: End,
    node: End,
    to_node: Flow,
    to_client: Flow,
    copied: bool,
}

#[derive(Debug)]
struct End {
    stream: TcpStream,
    readable: bool,
    writable: bool,
}

#[derive(Debug, Default)]
struct Flow {
    /// Read, and not taken by the other side yet.
    waiting: Vec<u8>,
    from: usize,
    /// The reader's side has said its last.
    ended: bool,
    /// The other side was told so.
    told: bool,
    copied: u64,
}

/// How a turn of one way ended.
enum Turn {
    Blocked,
    More,
    Broken,
}

impl Relay {
    pub(super) fn new(id: u64, client: TcpStream, node: (TcpStream, bool), copied: bool) -> Self {
        let (node, connected) = node;
        Self {
            id,
            // A request comes with its connection, mostly: looking costs less than being told.
            client: End { stream: client, readable: true, writable: true },
            node: End { stream: node, readable: false, writable: connected },
            to_node: Flow::default(),
            to_client: Flow::default(),
            copied,
        }
    }

    pub(super) fn streams(&self) -> [(&TcpStream, Side); 2] {
        [(&self.client.stream, Side::Client), (&self.node.stream, Side::Node)]
    }

    /// What the kernel told about a side.
    pub(super) fn told(&mut self, side: Side, events: EpollFlags) {
        let end = match side {
            Side::Client => &mut self.client,
            Side::Node => &mut self.node,
        };
        let over = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        end.readable |= events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | over);
        end.writable |= events.intersects(EpollFlags::EPOLLOUT | over);
    }

    /// Carries what can be carried.
    pub(super) fn carry(&mut self, buffer: &mut [u8], outbox: &mut Outbox) -> Next {
        let mut tap = Tap { id: self.id, copied: &mut self.copied, outbox };
        let forth =
            self.to_node.turn(&mut self.client, &mut self.node, buffer, &mut |bytes, so_far| {
                tap.copy(Way::ToNode, bytes, so_far)
            });
        let back = match forth {
            Turn::Broken => Turn::Broken,
            _ => self.to_client.turn(
                &mut self.node,
                &mut self.client,
                buffer,
                &mut |bytes, so_far| tap.copy(Way::ToClient, bytes, so_far),
            ),
        };
        match (forth, back) {
            (_, Turn::Broken) => {
                // Whoever is left learns it the way it happened.
                steer::abort(&self.client.stream);
                steer::abort(&self.node.stream);
                tap.say(&What::Gone);
                Next::Over
            }
            _ if self.to_node.told && self.to_client.told => Next::Over,
            (Turn::More, _) | (_, Turn::More) => Next::Again,
            _ => Next::Wait,
        }
    }
}

/// Where copies go, until some could not.
struct Tap<'a> {
    id: u64,
    copied: &'a mut bool,
    outbox: &'a mut Outbox,
}

impl Tap<'_> {
    fn copy(&mut self, way: Way, bytes: &[u8], so_far: u64) {
        let said = match (*self.copied, bytes) {
            (false, _) => return,
            (true, []) => self.outbox.say(self.id, &What::End(way)),
            (true, bytes) => so_far <= LONGEST_COPY && self.outbox.copy(self.id, way, bytes),
        };
        if !said {
            *self.copied = false;
            self.outbox.lose(self.id);
        }
    }

    fn say(&mut self, what: &What) {
        if *self.copied && !self.outbox.say(self.id, what) {
            self.outbox.lose(self.id);
        }
    }
}

impl Flow {
    /// `copy` gets what was read and how much of it there was so far; nothing at the end.
    fn turn(
        &mut self,
        from: &mut End,
        to: &mut End,
        buffer: &mut [u8],
        copy: &mut dyn FnMut(&[u8], u64),
    ) -> Turn {
        for _ in 0..TURNS {
            while self.from < self.waiting.len() {
                if !to.writable {
                    return Turn::Blocked;
                }
                match to.write(&self.waiting[self.from..]) {
                    Ok(written) => self.from += written,
                    Err(_) => return Turn::Broken,
                }
            }
            if self.from > 0 {
                (self.waiting, self.from) = (Vec::new(), 0);
            }
            if self.ended {
                // Told after all that came before it.
                if !self.told && to.writable {
                    self.told = true;
                    if to.stream.shutdown(Shutdown::Write).is_err() {
                        return Turn::Broken;
                    }
                }
                return Turn::Blocked;
            }
            // Nothing is taken that could not be handed on: who is slow stays the one who waits.
            if !from.readable || !to.writable {
                return Turn::Blocked;
            }
            let read = match from.read(buffer) {
                Ok(Some(0)) => {
                    self.ended = true;
                    copy(&[], self.copied);
                    continue;
                }
                Ok(Some(read)) => &buffer[..read],
                Ok(None) => return Turn::Blocked,
                Err(_) => return Turn::Broken,
            };
            self.copied += read.len() as u64;
            // The live path first.
            let written = match to.write(read) {
                Ok(written) => written,
                Err(_) => return Turn::Broken,
            };
            copy(read, self.copied);
            if written < read.len() {
                self.waiting = read[written..].to_vec();
            }
        }
        Turn::More
    }
}

impl End {
    /// `None`: nothing is there now.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How much was taken; nothing where there is no room.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
