//! `rehearse` (hidden): whether this program could take the place of the updater that runs on a node directory.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::machine::{Ledger, journal};
use countersign_updater::{Config, supervise};

use crate::{run, tell};

/// Whether this program can read a node directory (hidden: the updater asks a newer one)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// The form in which the supervisor that runs hands over
    #[arg(long)]
    hand_over: u32,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open(&self.node)?;
        Config::load(&home).map_err(|error| tell::config(&error))?;
        let running = tell::running(&home)?;
        let journal = journal::read(&home.journal()).map_err(|error| {
            run::failure(&countersign_updater::agent::AgentError::Journal(error))
        })?;
        let ledger = Ledger::of(&journal.records);
        if self.hand_over != supervise::HAND_OVER_FORMAT {
            let (theirs, ours) = (self.hand_over, supervise::HAND_OVER_FORMAT);
            let sentence = format!("the supervisor hands over in form {theirs}, this takes {ours}");
            return Err(Failure::new(Exit::Input, sentence));
        }
        out.say(format!("{} {} in {}", running.product, running.version, ledger.state.name()));
        Ok(Exit::Done)
    }
}
