//! Doors: sockets inside a sandbox's network that the caller holds, so that what connects there reaches whom the caller likes.
//!
//! Two sandboxes meet through them. Each keeps its own network, eye, name server and ledger, its own processes and users: all
//! that passes are the bytes of connections to an address that the caller has opened.

use std::net::{SocketAddr, TcpListener};

use crate::error::Error;
use crate::running::{Running, socket_inside};
use crate::wire::Request;

impl Running {
    /// The listening socket of a door that [`Sandbox::door`](crate::Sandbox::door) has opened. It is given out once; when it
    /// is closed, so is the door.
    ///
    /// # Errors
    /// [`Error::Network`] when there is no such door, or none any more; [`Error::Lost`].
    pub fn door(&self, address: SocketAddr) -> Result<TcpListener, Error> {
        socket_inside(&self.link, &Request::Door(address), address).map(TcpListener::from)
    }
}
