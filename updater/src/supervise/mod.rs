//! The supervisor: a small process of its own that keeps the node running and its sockets open.
//!
//! It parses no metadata and has no network client. What it starts is a function of `current`, never of an
//! event. The agent asks it over `NODE/run/supervisor.sock`; nothing it is asked outlives the asker for long:
//!
//! - a node stopped for a swap is started again when the agent's hold on it runs out,
//! - a frozen node is thawed at its deadline,
//! - except while `NODE/migrating.json` names the generation that `current` names: then the state is between two
//!   schemas, and no version that could be started knows it.
//!
//! A release without exclusive state is handed over instead: the generation that `current` names is started beside the
//! one that runs, on the same sockets, and that one drains once it is ready. If it never is, the other runs on.
//!
//! The node lives and dies with the supervisor: TERM to one is TERM to both. A supervisor that was killed
//! leaves the node running; the next one finds it by pid and start time, or by the lock that it holds, stops it and
//! starts `current`.
//! While a release is tried in the shadow, the agent may ask for a share of the live connections: `tee`.
//!
//! `NODE/run/state.lock` is held through an open file that every process of the node inherits, so that nobody
//! else writes the state while any of them lives.

pub mod client;
mod core;
mod inherited;
mod launch;
mod locks;
mod log;
mod notify;
mod orphan;
pub mod probe;
mod process;
pub mod protocol;
mod ready;
mod replace;
mod server;
mod share;
mod sockets;
pub(crate) mod tee;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::durable::DiskError;
use crate::generation::GenerationError;

pub use client::{Client, ClientError};
pub use launch::{EXEC_VERB, exec, lock_state};
pub use orphan::{MIGRATION, end_overdue_migrations};
pub use protocol::{Exit, ExitClass, Phase, Reply, Request, Status};

pub(crate) use ready::Log;
pub use replace::FORMAT as HAND_OVER_FORMAT;
pub use server::run;
pub use share::{BadShare, Share};
pub use tee::steer::SOURCE as TEE_SOURCE;
pub use tee::steer::trouble as tee_trouble;
pub use tee::{Plan as TeePlan, TeeError, VERB as TEE_VERB, run as run_tee};

/// What the operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// KILL after this long without an exit; `None`: never.
    pub kill_after: Option<Duration>,
    /// The node's log is rotated beyond this many bytes.
    pub log_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { kill_after: Some(Duration::from_mins(10)), log_bytes: 16 << 20 }
    }
}

/// The supervisor cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// Another one is at work.
    #[error("a supervisor already runs for {0}")]
    Busy(PathBuf),
    /// Unix sockets have short names.
    #[error("the path {0} is too long for a Unix socket (107 bytes at most)")]
    PathTooLong(PathBuf),
    /// Nothing to start.
    #[error("{0} names no generation: nothing is installed")]
    NothingInstalled(PathBuf),
    /// What `current` names cannot be read.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address} (socket {name:?})")]
    Listen {
        /// The socket's name.
        name: String,
        /// Its address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A node that an earlier supervisor left behind does not end.
    #[error("process {pid}, left by an earlier supervisor, does not end after TERM")]
    Orphan {
        /// Its pid.
        pid: i32,
    },
    /// The state is being written by somebody else.
    #[error("the state is in use by another process ({0} is locked)")]
    StateInUse(PathBuf),
    /// The state is between two schemas.
    #[error(
        "a migration away from generation {0} is unfinished; the agent completes or reverses it"
    )]
    Migrating(u64),
    /// Two generations that may not run at once.
    #[error("generations {from} and {to} may not run at once")]
    Exclusive {
        /// The one that runs.
        from: u64,
        /// The one that `current` names.
        to: u64,
    },
    /// The node's program cannot be run.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Something else that the system refused.
    #[error("cannot {what}")]
    System {
        /// What.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}
