//! Whole-system journeys and attacks: the world they happen in, the programs they run, the clients that take part.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test harness fails by panicking"
)]

pub mod client;
pub mod programs;
pub mod site;
pub mod wait;
pub mod world;
