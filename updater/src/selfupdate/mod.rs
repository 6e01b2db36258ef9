//! The updater updates itself, by the rules of any product: verified, approved, held off, staged, tried, watched, put
//! back. What it needs for that is a place of its own, with its own trust.
//!
//! ```text
//! NODE/updater/                  root.json, trust/, store/, seed: as of a node, for the product `countersign`
//! NODE/updater/current -> store/SHA256/tree/bin/countersign-updater     replaced by one rename: the commit point
//! NODE/updater/attempt.json      a program that has not proved itself yet, and how often it was started
//! NODE/updater/bad.json          programs that are never tried again
//! ```
//!
//! 1. A program is tried before it counts: it must read this node directory ([`renew`]).
//! 2. `attempt.json` says what is about to be named and what was named before; then `current` is renamed.
//! 3. The agent becomes the new program, and has the supervisor become it: both by `exec`, the node runs on.
//! 4. Once both run it, the agent removes `attempt.json`. Before that it begins nothing.
//!
//! Whatever is killed between these steps, the next start of any of them goes on from what lies there: `launch` looks
//! before anything else. It counts the starts of a program that has not proved itself; after [`STARTS`] of them the
//! program before it is put back. It is called by the program that the service starts, which is never replaced.

mod launch;
mod place;
pub mod renew;
mod settle;

use std::path::PathBuf;

pub use launch::{BECAME, Role, become_current};
pub use place::{Attempt, Place};
pub(crate) use settle::{Settled, settle};

/// This many starts has a program to prove itself, as agent and as supervisor.
pub const STARTS: u32 = 3;

/// The file of the program that runs.
pub fn me() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/exe").ok()
}
