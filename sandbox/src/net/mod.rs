//! The sandbox's own network: loopback, and for a sinkhole the eye, the name server and the ledger.
//!
//! ```text
//! payload --any address--> lo (AnyIP: every address is local) --> refused at once, or the payload itself
//!                           |                                      port 53: the name server
//!                           |                                      first bytes asked for: the catcher
//!                           +--> packet socket: the eye --> ledger of attempts <-- who did it: `notice`
//! ```
//!
//! What counts as an attempt: a connection's first segment, a datagram or a ping to any address but
//! 127.0.0.0/8 and `::1` (talking to oneself reaches nobody), to a declared listening address or a door, or from
//! [`Running::connect`](crate::Running::connect). At port 53 there is no talking to oneself, and a datagram that is
//! not one plain question to the given name server counts twice: as a question, and as a datagram.

mod catcher;
mod counters;
mod dns;
mod eye;
mod hello;
mod ledger;
mod overhear;
mod packet;
mod route;
mod sockets;

pub(crate) use catcher::Catcher;
pub(crate) use counters::Counters;
pub(crate) use dns::{NameServer, PORT as NAMES_PORT, Question, SERVER as NAME_SERVER};
pub(crate) use eye::{Eye, packet_socket};
pub(crate) use ledger::Ledger;
pub use overhear::{Datagram, Overhearing};
pub(crate) use route::{loopback_up, sink_everything};
pub(crate) use sockets::{listen, unconnected, undirected};
