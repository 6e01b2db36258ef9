//! `compare`: how two artifacts differ.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};

/// Explain how two artifacts differ
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  countersign-builder compare mine/thing.tar.zst theirs/thing.tar.zst"
)]
pub(super) struct Args {
    /// An artifact (.tar.zst, .tar.gz or .tar)
    first: PathBuf,
    /// Another one
    second: PathBuf,
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let comparison = countersign_builder::compare::compare(&self.first, &self.second)
            .map_err(|e| crate::fail::compare(&e))?;
        if comparison.equal {
            out.say("EQUAL: the same members with the same contents");
        } else {
            out.say("DIFFERENT");
            crate::show::comparison(&comparison, out);
        }
        out.json(&comparison);
        Ok(if comparison.equal { Exit::Done } else { Exit::Verdict })
    }
}
