//! Init's control channel: the caller's requests, the payload's readiness, and the wall limit.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Failure, Kind, Staged, Step};
use crate::net::{self, Ledger};
use crate::wire::{self, Event, Request};

/// The running control channel.
pub(crate) struct Control {
    shared: Arc<Shared>,
    payload_link: UnixStream,
}

/// A door's address, and its socket until the caller asks for it.
pub(crate) type Door = (SocketAddr, OwnedFd);

struct Shared {
    caller: UnixStream,
    /// Held while an event is written, so that frames do not mix.
    writing: Mutex<()>,
    ledger: Arc<Ledger>,
    payload: Pid,
    /// What the payload's process says of its start, until it has said it.
    starting: Mutex<Option<UnixStream>>,
    doors: Mutex<Vec<Door>>,
    out_of_time: AtomicBool,
}

/// Kills everything in the sandbox but init.
pub(crate) fn kill_all() {
    // There may be nobody left.
    _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
}

impl Control {
    /// Starts to serve the caller.
    pub(crate) fn start(
        caller: &UnixStream,
        payload_link: UnixStream,
        ledger: Arc<Ledger>,
        payload: Pid,
        wall: Option<Duration>,
        notify: Option<UnixDatagram>,
        doors: Vec<Door>,
    ) -> Staged<Self> {
        let step = "start the control channel";
        let caller = caller.try_clone().step(step)?;
        let writing = Mutex::new(());
        let out_of_time = AtomicBool::new(false);
        let doors = Mutex::new(doors);
        let link = payload_link.try_clone().step(step)?;
        let heard = link.try_clone().step(step)?;
        let starting = Mutex::new(Some(link));
        let shared =
            Arc::new(Shared { caller, writing, ledger, payload, starting, doors, out_of_time });
        let deadline = wall.and_then(|wall| Instant::now().checked_add(wall));
        let mine = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || mine.serve(deadline, Some(heard), notify))
            .step(step)?;
        Ok(Self { shared, payload_link })
    }

    /// Lets the payload's process go on.
    pub(crate) fn release_payload(&self) {
        let mut link = &self.payload_link;
        // A process that could not be made ready has said so, and is gone.
        _ = link.write_all(&[0]);
    }

    /// Whether the wall limit was reached.
    pub(crate) fn out_of_time(&self) -> bool {
        self.shared.out_of_time.load(Ordering::SeqCst)
    }

    /// Tells the caller one last thing, after it has been told of the start.
    pub(crate) fn finish(self, event: Option<&Event>) {
        self.shared.tell_start();
        if let Some(event) = event {
            self.shared.tell(event, &[]);
        }
        // Init exits now, and no frame may be cut off by that.
        std::mem::forget(self.shared.writing.lock());
    }
}

impl Shared {
    fn tell(&self, event: &Event, fds: &[std::os::fd::BorrowedFd<'_>]) {
        let _whole = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // A caller that is gone is noticed by the keeper.
        _ = wire::send(&self.caller, event, fds);
    }

    /// The payload's socket ends when its program has been executed, or brings the reason why not. Told once.
    fn tell_start(&self) {
        let mut starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(link) = starting.take() else { return };
        match wire::receive::<Failure>(&link) {
            Ok(Some((failure, _))) => self.tell(&Event::Failed(failure), &[]),
            Ok(None) => self.tell(&Event::Started, &[]),
            Err(error) => {
                self.tell(
                    &Event::Failed(Failure::new(Kind::Setup, "hear the payload", &error)),
                    &[],
                );
            }
        }
    }

    /// Reads one message of those that there are; whether it says that the payload is ready.
    fn hear_readiness(&self, socket: &UnixDatagram) -> bool {
        let mut buffer = [0; 4096];
        // Descriptors sent along are dropped by the kernel: no room is made for them.
        let read = socket.recv(&mut buffer).unwrap_or_default();
        let message = buffer.get(..read).unwrap_or_default();
        let ready = message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
        if ready {
            self.tell(&Event::Ready, &[]);
        }
        ready
    }

    /// One thread for all that is heard while the payload runs: each more would take as long to start as a third of the tree.
    fn serve(
        &self,
        mut deadline: Option<Instant>,
        mut starting: Option<UnixStream>,
        mut notify: Option<UnixDatagram>,
    ) {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                deadline = None;
                self.out_of_time.store(true, Ordering::SeqCst);
                kill_all();
                continue;
            }
            let caller = self.caller.as_fd();
            // What is not listened to any more is the caller, once more.
            let begun = starting.as_ref().map_or(caller, AsFd::as_fd);
            let ready = notify.as_ref().map_or(caller, AsFd::as_fd);
            let Ok([readable, begun, ready]) =
                wire::wait([caller, begun, ready].map(|fd| (fd, PollFlags::POLLIN)), left)
            else {
                return kill_all();
            };
            if begun && starting.take().is_some() {
                self.tell_start();
            }
            if ready && notify.as_ref().is_some_and(|socket| self.hear_readiness(socket)) {
                notify = None;
            }
            if !readable {
                continue;
            }
            match wire::receive::<Request>(&self.caller) {
                Ok(Some((request, _))) => self.answer(request),
                // The caller is gone; the keeper is about to kill us all.
                Ok(None) | Err(_) => return kill_all(),
            }
        }
    }

    fn answer(&self, request: Request) {
        match request {
            Request::Connect(address) => self.connect(address),
            Request::Datagrams(address) => match net::undirected(&address) {
                Ok(socket) => self.tell(&Event::Socket(None), &[socket.as_fd()]),
                Err(error) => self.no_socket(address, &error),
            },
            Request::Door(address) => self.door(address),
            Request::Attempts => self.tell(&Event::Attempts(self.ledger.attempts()), &[]),
            Request::Kill => kill_all(),
            Request::Terminate => {
                // It may have ended already.
                _ = kill(self.payload, Signal::SIGTERM);
            }
        }
    }

    fn connect(&self, address: SocketAddr) {
        match net::unconnected(&address) {
            Ok((socket, port)) => {
                self.ledger.expect_probe(port, address);
                self.tell(&Event::Socket(None), &[socket.as_fd()]);
            }
            Err(error) => self.no_socket(address, &error),
        }
    }

    fn door(&self, address: SocketAddr) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let known = doors.iter().position(|(at, _)| *at == address);
        match known.map(|at| doors.swap_remove(at)) {
            Some((_, socket)) => self.tell(&Event::Socket(None), &[socket.as_fd()]),
            None => self.no_socket(address, &io::ErrorKind::NotFound.into()),
        }
    }

    fn no_socket(&self, address: SocketAddr, error: &io::Error) {
        let failure = Failure::new(Kind::Network, address.to_string(), error);
        self.tell(&Event::Socket(Some(failure)), &[]);
    }
}
