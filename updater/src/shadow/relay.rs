//! Carries the bytes of connections from a door of one sandbox to the node in another.
//!
//! It reads nothing of them. One thread does it, between two looks at those who meet: nothing runs on when it is dropped.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use countersign_sandbox::Running;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Connections at a time; more wait in the kernel.
const MOST: usize = 256;

/// Bytes on their way, in each direction of a connection.
const ROOM: usize = 16 << 10;

/// A door, and where it leads.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    /// Which of the nodes that [`Relay::turn`] is given.
    pub(super) node: usize,
    /// At which address it listens, in its own sandbox.
    pub(super) at: SocketAddr,
}

/// All doors of a meeting and what goes through them.
#[derive(Default)]
pub(super) struct Relay {
    doors: Vec<Door>,
    flows: Vec<Flow>,
}

/// One connection: what comes from the one end goes to the other.
struct Flow {
    ends: [TcpStream; 2],
    ways: [Way; 2],
}

/// One direction.
#[derive(Default)]
struct Way {
    bytes: Vec<u8>,
    /// Nothing more comes.
    ended: bool,
    /// The other end has been told.
    closed: bool,
}

impl Relay {
    pub(super) fn add(&mut self, door: Door) -> std::io::Result<()> {
        door.listener.set_nonblocking(true)?;
        self.doors.push(door);
        Ok(())
    }

    /// Closes the doors that were added last, down to so many, and what goes through any.
    pub(super) fn keep(&mut self, doors: usize) {
        self.doors.truncate(doors);
        self.flows.clear();
    }

    pub(super) fn doors(&self) -> usize {
        self.doors.len()
    }

    /// Takes and carries what there is, and waits at most so long for it.
    pub(super) fn turn(&mut self, nodes: [&Running; 2], wait: Duration) {
        self.wait(wait);
        // One at a time: a node that takes nothing costs its patience once before the caller looks again.
        let come = self.doors.iter().filter(|_| self.flows.len() < MOST);
        let come = come.filter_map(|door| Some((door, door.listener.accept().ok()?.0))).next();
        if let Some((door, from)) = come
            // Where nobody listens, whoever came is told by the end of the connection.
            && let Ok(to) = nodes[door.node].connect(door.at)
            && from.set_nonblocking(true).and_then(|()| to.set_nonblocking(true)).is_ok()
        {
            self.flows.push(Flow { ends: [from, to], ways: Default::default() });
        }
        self.flows.retain_mut(Flow::carry);
    }

    fn wait(&self, wait: Duration) {
        let full = self.flows.len() >= MOST;
        let doors = self.doors.iter().filter(|_| !full);
        let mut polled: Vec<_> =
            doors.map(|door| PollFd::new(door.listener.as_fd(), PollFlags::POLLIN)).collect();
        polled.extend(
            self.flows.iter().flat_map(Flow::wishes).map(|(fd, flags)| PollFd::new(fd, flags)),
        );
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        // Interrupted or not: what there is, is looked for.
        _ = poll(&mut polled, timeout);
    }
}

impl Flow {
    /// What is waited for: bytes to come where there is room, and room where there are bytes. An end of which nothing is
    /// wanted is not asked, or its having been closed would wake us for nothing.
    fn wishes(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        (0..2).filter_map(|end| {
            let (out, back) = (&self.ways[end], &self.ways[1 - end]);
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, !out.ended && out.bytes.is_empty());
            flags.set(PollFlags::POLLOUT, !back.bytes.is_empty());
            (!flags.is_empty()).then(|| (self.ends[end].as_fd(), flags))
        })
    }

    /// Whether it goes on.
    fn carry(&mut self) -> bool {
        let [here, there] = &self.ends;
        let [out, back] = &mut self.ways;
        let well = out.carry(here, there) && back.carry(there, here);
        well && !(out.closed && back.closed)
    }
}

impl Way {
    /// `false`: the connection is broken.
    fn carry(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> bool {
        if self.bytes.is_empty() && !self.ended {
            let mut room = [0; ROOM];
            match from.read(&mut room) {
                Ok(0) => self.ended = true,
                Ok(read) => self.bytes.extend_from_slice(room.get(..read).unwrap_or_default()),
                Err(error) => return not_yet(error.kind()),
            }
        }
        while !self.bytes.is_empty() {
            match to.write(&self.bytes) {
                Ok(written) => drop(self.bytes.drain(..written)),
                Err(error) => return not_yet(error.kind()),
            }
        }
        if self.ended && !self.closed {
            self.closed = true;
            return to.shutdown(Shutdown::Write).is_ok();
        }
        true
    }
}

fn not_yet(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
