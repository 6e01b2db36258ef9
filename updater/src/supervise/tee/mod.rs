//! The tee: a process of its own that stands between some clients and the node for a while, and tells the agent what they said.
//!
//! ```text
//!              90 %
//!   clients ---------> the node's socket          as ever: nothing of ours is in the way
//!        \    10 %                    ^
//!         +--------> tee -------------+           copies --> NODE/run/mirror.sock --> agent --> the shadow
//! ```
//!
//! A process, not threads of the supervisor: it parses nothing, but it reads what anybody sends, and if it falls only the
//! connections in it fall. New ones go to the node, by the kernel's own rule for a socket that is gone. One thread carries all
//! connections; copies go into a bounded box and are dropped when that is full, so the live path waits for no agent.
//!
//! Its life: it listens beside the node and steers the share to itself; told to end (by the supervisor, by either of them
//! hanging up) it steers nothing to itself any more, accepts what had begun to connect, stops listening, and carries what it
//! has until that ends by itself.

mod outbox;
mod relay;
pub(super) mod steer;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::outbox::Outbox;
use self::relay::{Next, Relay, Side};
use self::wire::What;
use super::Share;
use crate::trust_store::chain;

/// The hidden verb that is the tee.
pub const VERB: &str = "tee";

/// How often it shows the supervisor that it lives.
pub(super) const BEAT: Duration = Duration::from_millis(200);

/// A beat of one that listens beside the node, and of one that only carries what it has.
const LISTENS: u8 = b'.';
pub(super) const CARRIES: u8 = b',';

/// How long what has begun to connect may take, after nothing new is steered here: a slow client's three lost packets.
const LINGER: Duration = Duration::from_secs(8);

/// More connections at once are not asked for.
const MANY: usize = 1024;

/// Connections accepted in one turn.
const ACCEPTS: usize = 64;

const LIFELINE: u64 = 0;
const AGENT: u64 = 1;
/// Listeners are numbered from here on; connections, two numbers each, from [`CONNECTIONS`] on.
const LISTENERS: u64 = 2;
const CONNECTIONS: u64 = 1024;

/// What the supervisor asks of it.
#[derive(Debug)]
pub struct Plan {
    /// Of new connections.
    pub share: Share,
    /// The agent's socket.
    pub to: PathBuf,
    /// Names and addresses of the node's sockets.
    pub sockets: Vec<(String, SocketAddr)>,
}

/// The tee could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum TeeError {
    /// Nobody to tell.
    #[error("no agent listens on {path}")]
    Agent {
        /// Its socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No place beside the node.
    #[error("cannot listen beside the node on {address} (socket {name:?})")]
    Join {
        /// The socket.
        name: String,
        /// Its address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The node's address is not to be reached from the tee's network.
    #[error("{address} is not to be reached from {}.{}.{}.0/24", steer::SOURCE[0], steer::SOURCE[1], steer::SOURCE[2])]
    Unreachable {
        /// The node's address.
        address: SocketAddrV4,
        /// What the system says.
        source: io::Error,
    },
    /// Something else that the system refused.
    #[error("the tee cannot {what}")]
    System {
        /// What.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> TeeError {
    move |error| TeeError::System { what, source: error.into() }
}

/// Is the tee, until its last connection has ended. `lifeline` is the supervisor's.
///
/// # Errors
/// It could not begin: nothing was steered to it. The agent was told why.
pub fn run(plan: &Plan, lifeline: UnixStream) -> Result<(), TeeError> {
    let agent = UnixStream::connect(&plan.to)
        .map_err(|source| TeeError::Agent { path: plan.to.clone(), source })?;
    let mut outbox = Outbox::new(agent).map_err(system("talk to the agent"))?;
    let tee = match Tee::open(plan, lifeline) {
        Ok(tee) => tee,
        Err(error) => {
            outbox.say(0, &What::Trouble(chain(&error)));
            outbox.flush();
            return Err(error);
        }
    };
    outbox.say(0, &What::Hello);
    tee.serve(outbox)
}

struct Tee {
    epoll: Epoll,
    lifeline: UnixStream,
    share: Share,
    listeners: Vec<Beside>,
    relays: BTreeMap<u64, Relay>,
    next: u64,
    /// Those with more to do at once.
    again: Vec<u64>,
    /// So many at once are enough, and whether they are there.
    many: usize,
    full: bool,
    /// When to stop listening, once it was told to end.
    ending: Option<Instant>,
}

struct Beside {
    name: String,
    listener: TcpListener,
    node: SocketAddrV4,
}

impl Tee {
    fn open(plan: &Plan, lifeline: UnixStream) -> Result<Self, TeeError> {
        let many = descriptors() / 4;
        lifeline.set_nonblocking(true).map_err(system("listen to the supervisor"))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(system("wait"))?;
        let mut this = Self {
            epoll,
            lifeline,
            share: plan.share,
            listeners: Vec::new(),
            relays: BTreeMap::new(),
            next: CONNECTIONS,
            again: Vec::new(),
            many: many.min(MANY),
            full: false,
            ending: None,
        };
        for (name, address) in &plan.sockets {
            this.join(name, *address)?;
        }
        Ok(this)
    }

    fn join(&mut self, name: &str, address: SocketAddr) -> Result<(), TeeError> {
        let failed = |source| TeeError::Join { name: name.to_owned(), address, source };
        let node = steer::target(address, false).ok_or(io::ErrorKind::Unsupported.into());
        let node = node.map_err(failed)?;
        steer::rehearse(node).map_err(|source| TeeError::Unreachable { address: node, source })?;
        let listener = steer::join(address).map_err(failed)?;
        let token = LISTENERS + self.listeners.len() as u64;
        self.watch(&listener, token, EpollFlags::EPOLLIN).map_err(failed)?;
        self.listeners.push(Beside { name: name.to_owned(), listener, node });
        Ok(())
    }

    fn watch(&self, fd: impl AsFd, token: u64, events: EpollFlags) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(events, token))?)
    }

    /// Steers the share here, or nothing.
    fn steer(&self) -> io::Result<()> {
        let share = (!self.full && self.ending.is_none()).then_some(self.share);
        self.listeners.iter().try_for_each(|beside| steer::steer(&beside.listener, share))
    }

    fn serve(mut self, mut outbox: Outbox) -> Result<(), TeeError> {
        self.watch(&self.lifeline, LIFELINE, EpollFlags::EPOLLIN).map_err(system("wait"))?;
        if let Some(agent) = outbox.fd() {
            let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            self.watch(agent, AGENT, events).map_err(system("wait"))?;
        }
        self.steer().map_err(system("steer connections"))?;
        let mut buffer = vec![0; wire::LONGEST];
        let mut events = [EpollEvent::empty(); 256];
        let mut beat = Instant::now();
        while !(self.listeners.is_empty() && self.relays.is_empty()) {
            let pause = if self.again.is_empty() { BEAT } else { Duration::ZERO };
            let pause = EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::ZERO);
            let told = match self.epoll.wait(&mut events, pause) {
                Ok(told) => told,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(system("wait")(error)),
            };
            let mut due = std::mem::take(&mut self.again);
            for event in &events[..told] {
                self.told(*event, &mut outbox, &mut due);
            }
            due.sort_unstable();
            due.dedup();
            for id in due {
                self.carry(id, &mut buffer, &mut outbox);
            }
            if beat.elapsed() >= BEAT {
                beat = Instant::now();
                let beat = if self.listeners.is_empty() { CARRIES } else { LISTENS };
                let _full_is_heard_enough = self.lifeline.write(&[beat]);
                outbox.count();
            }
            self.mind();
            outbox.flush();
        }
        outbox.count();
        outbox.flush();
        Ok(())
    }

    fn told(&mut self, event: EpollEvent, outbox: &mut Outbox, due: &mut Vec<u64>) {
        match event.data() {
            LIFELINE => self.heed(),
            AGENT => {
                if self.ending.is_none() && !outbox.is_heard() {
                    self.end(LINGER);
                }
            }
            token if token < CONNECTIONS => {
                let index = usize::try_from(token - LISTENERS).unwrap_or(usize::MAX);
                self.accept(index, outbox, due);
            }
            token => {
                let side = if token % 2 == 0 { Side::Client } else { Side::Node };
                if let Some(relay) = self.relays.get_mut(&(token / 2)) {
                    relay.told(side, event.events());
                    due.push(token / 2);
                }
            }
        }
    }

    /// Any word of the supervisor's is the word to end; so is its own end, and then its place is wanted at once.
    fn heed(&mut self) {
        match self.lifeline.read(&mut [0; 16]) {
            Ok(0) => {
                let _gone = self.epoll.delete(&self.lifeline);
                self.end(Duration::ZERO);
            }
            Ok(_) => self.end(LINGER),
            Err(_) => {}
        }
    }

    fn end(&mut self, linger: Duration) {
        let at = Instant::now() + linger;
        self.ending = Some(self.ending.map_or(at, |before| before.min(at)));
        let _the_supervisor_does_it_too = self.steer();
    }

    fn accept(&mut self, index: usize, outbox: &mut Outbox, due: &mut Vec<u64>) {
        for _ in 0..ACCEPTS {
            let Some(beside) = self.listeners.get(index) else { return };
            let Ok((client, _)) = beside.listener.accept() else { return };
            let id = self.next;
            // A client whose node cannot be called is hung up on; nobody else is sent here before this is looked into.
            let called = client.set_nonblocking(true).and_then(|()| steer::call(beside.node, id));
            let Ok(node) = called else {
                steer::abort(&client);
                return self.end(Duration::ZERO);
            };
            self.next += 1;
            let copied = self.ending.is_none() && outbox.open(id, &beside.name);
            let relay = Relay::new(id, client, node, copied);
            let events = EpollFlags::EPOLLIN
                | EpollFlags::EPOLLOUT
                | EpollFlags::EPOLLRDHUP
                | EpollFlags::EPOLLET;
            let watched = relay.streams().into_iter().try_for_each(|(stream, side)| {
                self.watch(stream, id * 2 + u64::from(side == Side::Node), events)
            });
            if watched.is_ok() {
                self.relays.insert(id, relay);
                due.push(id);
            }
        }
    }

    fn carry(&mut self, id: u64, buffer: &mut [u8], outbox: &mut Outbox) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        match relay.carry(buffer, outbox) {
            Next::Wait => {}
            Next::Again => self.again.push(id),
            Next::Over => drop(self.relays.remove(&id)),
        }
    }

    /// Takes no more than it can carry, and stops listening when its time has come and nobody waits.
    fn mind(&mut self) {
        let count = self.relays.len();
        let full = if self.full { count * 4 > self.many * 3 } else { count >= self.many };
        if full != self.full {
            self.full = full;
            let _as_before = self.steer();
        }
        if self.ending.is_some_and(|at| at <= Instant::now()) && !self.listeners.is_empty() {
            // What is in the queue was accepted in this turn, or is now.
            let waits = self.listeners.iter().any(|beside| is_waiting(&beside.listener));
            if !waits {
                self.listeners.clear();
            }
        }
    }
}

fn is_waiting(listener: &TcpListener) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// As many open files as this process may have.
fn descriptors() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 256 };
    let wanted = hard.min(16 << 10).max(soft);
    let have = if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    usize::try_from(have).unwrap_or(usize::MAX)
}
