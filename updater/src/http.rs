//! A small HTTP/1.1 server for what a node shows of itself: GET and HEAD, one answer a connection, limits on everything.
//!
//! Whoever asks is a stranger. A connection has [`Limits::head_time`] for its whole request, an answer has to be taken at
//! a least speed, and connections beyond [`Limits::connections`] are answered 503 and closed. Each has a thread, so nothing
//! here can hold up whoever started the server. Why not `tiny_http`: it bounds neither connections nor the time that a
//! request takes to come. Why not `axum`, as `countersign-metadata serve`: a runtime would be most of an idle agent's memory.

mod answer;
mod request;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

pub use answer::{Answer, Body};
pub use request::Request;

/// What strangers may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// How long the whole head may take to come.
    pub head_time: Duration,
    /// How long an answer may stand still.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32,
            head_bytes: 8 << 10,
            head_time: Duration::from_secs(10),
            stall: Duration::from_secs(20),
        }
    }
}

/// What answers: called on the connection's own thread, with the path and the range of a request that was understood.
pub type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// Room for a handler that parses and verifies; only what is used costs memory.
const STACK: usize = 1 << 20;

/// Answers on `listener` for as long as this process lives. Returns the address, port 0 resolved.
///
/// # Errors
/// No thread can be had.
pub fn serve(
    listener: TcpListener,
    limits: Limits,
    handler: Arc<Handler>,
) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let open = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Out of descriptors, or the peer was gone already: nobody tells when that is over.
                thread::park_timeout(Duration::from_millis(50));
                continue;
            };
            let place = Place::take(&open);
            let handler = Arc::clone(&handler);
            if place.number > limits.connections {
                // On this thread: the answer fits into the socket's buffer, and what the peer sent is not waited for.
                let _gone = Answer::text(503, "too many connections").send_at_once(&stream);
                continue;
            }
            let work = move || {
                let _place = place;
                // Whoever hangs up is no error of ours.
                let _gone = converse(&stream, limits, address, &*handler);
            };
            let _no_thread = thread::Builder::new().stack_size(STACK).spawn(work);
        }
    };
    thread::Builder::new().name("http".to_owned()).stack_size(STACK).spawn(accept)?;
    Ok(address)
}

fn converse(
    stream: &TcpStream,
    limits: Limits,
    address: SocketAddr,
    handler: &Handler,
) -> io::Result<()> {
    let (answer, head_only, range) = match request::read(stream, limits, address) {
        Ok(request) => (handler(&request), request.head_only, request.range),
        Err(refused) => (refused?, false, None),
    };
    answer.send(stream, limits.stall, head_only, range)
}

/// One of the connections that are open.
struct Place {
    open: Arc<AtomicUsize>,
    /// Counted from 1.
    number: usize,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        let number = open.fetch_add(1, Ordering::SeqCst) + 1;
        Self { open: Arc::clone(open), number }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
