//! The listening socket: the supervisor's, which outlives this process, or one of our own.

use std::net::{SocketAddr, TcpListener};

use crate::failure::{Failure, HOST, INPUT, OrFail, Outcome, USAGE};

/// The name of our socket in `LISTEN_FDNAMES`.
const NAME: &str = "http";

/// Takes the socket named `http` from `LISTEN_FDS`; without one listens on `by_hand`.
///
/// `LISTEN_PID` is compared by the crate below: variables that were meant for our parent are ignored.
pub(crate) fn take(by_hand: Option<SocketAddr>) -> Outcome<TcpListener> {
    let passed = sd_listen_fds::get().map_err(|error| Failure::new(INPUT, error))?;
    let alone = passed.len() == 1;
    let ours = passed.into_iter().find_map(|(name, socket)| {
        let ours = match name {
            Some(name) => name == NAME,
            None => alone,
        };
        ours.then(|| TcpListener::from(socket))
    });
    let listener = match (ours, by_hand) {
        (Some(listener), _) => listener,
        (None, Some(address)) => {
            TcpListener::bind(address).or_fail(format_args!("listen on {address}"))?
        }
        (None, None) => {
            return Err(Failure::new(
                USAGE,
                "no socket named http was passed in LISTEN_FDS; by hand, give --listen IP:PORT",
            ));
        }
    };
    listener.local_addr().map_err(|error| {
        Failure::new(HOST, format!("the socket {NAME} is not a TCP socket: {error}"))
    })?;
    // Several workers poll it; the one that comes second must not block in accept. Whoever takes the socket
    // over from us sets what it needs itself, as we do here.
    listener.set_nonblocking(true).or_fail("set up the listening socket")?;
    Ok(listener)
}
