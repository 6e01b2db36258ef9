//! Clients that write all the while: they never retry, and remember every request with its time and outcome.

pub mod beanstalk;
pub mod http_load;
mod load;
pub mod program;
mod record;

pub use load::Load;
pub use record::{Counts, Missing, Protocol, Record, Request, unix_ms};
