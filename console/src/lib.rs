//! How every Countersign program speaks: one set of exit codes, one shape of error, one table.
//!
//! The libraries of the house never print. A program's `main` is [`run`], its verbs return
//! [`Result<Exit, Failure>`](Failure), and what they print goes through [`Out`].

mod ask;
mod failure;
mod harden;
mod out;
pub mod page;
mod printable;
mod program;
mod progress;

pub use ask::{AskError, ask};
pub use failure::{Exit, Failure, Hint};
pub use harden::harden;
pub use out::Out;
pub use printable::printable;
pub use program::{Extras, Output, run};
pub use progress::Progress;
