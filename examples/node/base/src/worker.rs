//! A worker: takes a connection when it is free, serves it to its end, and drains when the node stops.
//!
//! A connection is accepted only by a worker that is free to serve it. So no connection is ever accepted and
//! dropped: what nobody has accepted waits in the backlog of the supervisor's socket, for us or for the next version.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use crate::api::Api;
use crate::failure::{OrFail, Outcome};
use crate::http::{Broken, Look, Wire};

/// Quiet looks (of a tenth of a second) at an idle connection before a stopping node closes it. A client that uses its
/// connection at least once in this time is told `Connection: close` with an answer, and never finds it gone.
const QUIET_WHEN_STOPPING: u32 = 10;
/// The same while the node serves: a minute.
const QUIET_WHEN_SERVING: u32 = 600;

/// Where connections come from, until the node is told to stop.
pub(crate) struct Door<'a> {
    /// One worker at a time waits at the socket.
    pub(crate) listener: Mutex<TcpListener>,
    /// Readable once TERM has arrived. Nobody reads it, so everybody sees it.
    pub(crate) stop: &'a SignalFd,
    pub(crate) stopping: AtomicBool,
}

impl Door<'_> {
    /// The next connection; `None` once the node is told to stop.
    fn next(&self) -> Outcome<Option<TcpStream>> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut sources = [
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut sources, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.or_fail("wait for connections")?,
            };
            if sources[0].any() != Some(false) {
                return Ok(None);
            }
            match listener.accept() {
                Ok((stream, _)) => return Ok(Some(stream)),
                Err(error) if may_repeat(error.kind()) => {}
                Err(error) => return Err(error).or_fail("accept a connection"),
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// The client went away while it waited, or another process was quicker.
fn may_repeat(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

/// Serves one connection after the other until the node is told to stop.
pub(crate) fn run(door: &Door<'_>, api: &Api<'_>) -> Outcome<()> {
    while let Some(stream) = door.next()? {
        if let Ok(wire) = Wire::new(stream) {
            serve(wire, door, api);
        }
    }
    Ok(())
}

fn serve(mut wire: Wire, door: &Door<'_>, api: &Api<'_>) {
    let (mut quiet, mut quiet_when_stopping) = (0, 0);
    loop {
        match wire.look() {
            Look::Gone => return,
            Look::Quiet => {
                let stopping = door.is_stopping();
                let (looks, limit) = if stopping {
                    (&mut quiet_when_stopping, QUIET_WHEN_STOPPING)
                } else {
                    (&mut quiet, QUIET_WHEN_SERVING)
                };
                *looks += 1;
                if *looks >= limit {
                    return;
                }
                continue;
            }
            Look::Request => (quiet, quiet_when_stopping) = (0, 0),
        }
        let (response, last) = match wire.request() {
            Ok(request) => {
                let last = request.last;
                (api.answer(request), last)
            }
            Err(Broken::Refused(response)) => (response, true),
            Err(Broken::Gone) => return,
        };
        // Asked after the answer is known: a node that began to stop meanwhile still says so.
        let last = last || door.is_stopping();
        if wire.respond(&response, last).is_err() {
            return;
        }
        if last {
            return wire.close();
        }
    }
}
