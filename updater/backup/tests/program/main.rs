//! The program on real nodes, with real stores, and beside the stock restic.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bucket;
mod directory;
#[path = "../../../src/fixture/mod.rs"]
mod fixture;
mod killed;
mod node;
mod restored;
