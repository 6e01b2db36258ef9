//! `check`: whether the repository is whole.

use std::path::PathBuf;

use countersign_backup::check::check;
use countersign_console::{Exit, Failure, Out, Progress};

use crate::tell;

/// Check that the repository is whole
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// Read and verify every byte too
    #[arg(long)]
    read_data: bool,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let node = tell::look(&self.node)?;
        let spinner = Progress::spinner("checking the repository");
        let findings = node.open().and_then(|repository| check(&repository, self.read_data));
        drop(spinner);
        let findings = findings.map_err(|error| tell::failure(&error))?;
        findings.errors.iter().for_each(|error| out.say(format!("error: {error}")));
        findings.warnings.iter().for_each(|warning| out.say(format!("note: {warning}")));
        out.json(&findings);
        match findings.errors.len() {
            0 => {
                out.say("The repository is whole.");
                Ok(Exit::Done)
            }
            n => {
                out.say(format!(
                    "{n} errors. Copies that need none of it can still be restored; a new one is made with the next \
                     snapshot."
                ));
                Ok(Exit::Verdict)
            }
        }
    }
}
