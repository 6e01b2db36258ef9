//! Init's control channel: the caller's requests, the payload's readiness, and the wall limit.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
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
    starting: JoinHandle<()>,
}

/// A door's address, and its socket until the caller asks for it.
pub(crate) type Door = (SocketAddr, OwnedFd);

struct Shared {
    caller: UnixStream,
    /// Held while an event is written, so that frames do not mix.
    writing: Mutex<()>,
    ledger: Arc<Ledger>,
    payload: Pid,
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
        let shared = Arc::new(Shared { caller, writing, ledger, payload, doors, out_of_time });
        let deadline = wall.and_then(|wall| Instant::now().checked_add(wall));

        let link = payload_link.try_clone().step(step)?;
        let mine = Arc::clone(&shared);
        let starting = std::thread::Builder::new()
            .name("starting".to_owned())
            .spawn(move || mine.tell_start(&link))
            .step(step)?;
        let mine = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || mine.serve(deadline))
            .step(step)?;
        if let Some(notify) = notify {
            let mine = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("notify".to_owned())
                .spawn(move || mine.listen_for_readiness(&notify))
                .step(step)?;
        }
        Ok(Self { shared, payload_link, starting })
    }

    /// Lets the payload's process go on.
    pub(crate) fn release_payload(&self) -> Staged<()> {
        let mut link = &self.payload_link;
        link.write_all(&[0]).step("release the payload")
    }

    /// Whether the wall limit was reached.
    pub(crate) fn out_of_time(&self) -> bool {
        self.shared.out_of_time.load(Ordering::SeqCst)
    }

    /// Tells the caller one last thing, after it has been told of the start.
    pub(crate) fn finish(self, event: Option<&Event>) {
        _ = self.starting.join();
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

    /// The payload's socket ends when its program has been executed, or brings the reason why not.
    fn tell_start(&self, link: &UnixStream) {
        match wire::receive::<Failure>(link) {
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

    fn listen_for_readiness(&self, socket: &UnixDatagram) {
        let mut buffer = [0; 4096];
        // Descriptors sent along are dropped by the kernel: no room is made for them.
        while let Ok(read) = socket.recv(&mut buffer) {
            let message = buffer.get(..read).unwrap_or_default();
            if message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                self.tell(&Event::Ready, &[]);
                return;
            }
        }
    }

    fn serve(&self, mut deadline: Option<Instant>) {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                deadline = None;
                self.out_of_time.store(true, Ordering::SeqCst);
                kill_all();
                continue;
            }
            let Ok([readable]) = wire::wait([(self.caller.as_fd(), PollFlags::POLLIN)], left)
            else {
                return kill_all();
            };
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
