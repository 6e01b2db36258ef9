//! The processes between a caller and its payload, all of them this same program, executed again.
//!
//! ```text
//! caller ──spawns──> keeper ──forks──> init (pid 1 inside) ──forks──> payload ──execve──> the program
//!    │                 │                 │
//!    └── one socket ───┴─────────────────┘
//! ```
//!
//! - **keeper**: outside, with the caller's rights. Gives and takes back scratch directories, makes the
//!   network, makes and removes control groups, writes id maps, and kills init when the caller goes away in whatever manner.
//! - **init**: builds the tree, enters the network, drops its rights, watches. The kernel kills everything in the
//!   sandbox when init dies, and init when the keeper dies.
//! - **payload**: gives everything up and becomes the program.
//!
//! Each has one thread when it forks. Nothing is done between a fork and an exec in the caller's process.
//!
//! They work at the same time where they can: the keeper makes the network while init builds the tree, and the payload's process
//! gives up its rights while init's threads start.

mod cgroup;
mod control;
mod generated;
mod ids;
mod init;
mod keeper;
mod landlock;
mod output;
mod overlay;
mod owner;
mod payload;
mod probe;
mod proof;
mod resources;
pub(crate) mod seccomp;
mod tree;

pub(crate) use keeper::run;
pub(crate) use tree::to;

/// Where the payload says that it is ready.
const NOTIFY: &str = "/run/notify";
