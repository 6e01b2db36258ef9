//! The journey: from source to a running, updated node, as one story, and again with the updater killed at every step.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod killed;
mod newcomer;
mod previous;
mod story;
