//! `accept`: what a release asks of operators was done; without that it waits.

use std::collections::BTreeSet;
use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::{ActionId, Version};
use countersign_updater::machine::{Candidate, Wanted};

use crate::{orders, tell};

const EXAMPLES: &str = "\
Examples:
  countersign-updater accept /srv/examplenode 2.0.0
      everything that 2.0.0 asks for was done
  countersign-updater accept /srv/examplenode 2.0.0 open-port
      this one thing was done

`status` and `explain` show what is asked for. Nothing but that is accepted: the delay and all checks are as always.";

/// Say that what a release asks of operators was done
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// The release's version
    version: Version,
    /// What was done [default: everything that it asks for]
    actions: Vec<ActionId>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open_to_write(&self.node)?;
        let ledger = tell::ledger(&home)?;
        let candidate = self.candidate(ledger.state.candidate(), ledger.state.is_rest())?;
        let asked: BTreeSet<_> = candidate.actions.keys().cloned().collect();
        if let Some(unknown) = self.actions.iter().find(|id| !asked.contains(*id)) {
            let names: Vec<_> = asked.iter().map(ActionId::as_str).collect();
            let what = format!("{} does not ask for {unknown}", self.version);
            return Err(
                Failure::new(Exit::Input, what).hint(format!("it asks for: {}", names.join(", ")))
            );
        }
        let actions = match self.actions.is_empty() {
            true => asked,
            false => self.actions.into_iter().collect(),
        };
        for id in &actions {
            let text = candidate.actions.get(id).map_or("", String::as_str);
            out.say(format!("done: {text} ({id})"));
        }
        let (artifact, version) = (candidate.artifact, self.version);
        orders::give(&home, Wanted::Accept { artifact, version, actions }, out)
    }

    /// What is accepted was read: it is about the release that the node has announced.
    fn candidate(&self, found: Option<&Candidate>, rests: bool) -> Result<Candidate, Failure> {
        let found = found.filter(|c| !rests && c.version == self.version).cloned();
        let candidate = found.ok_or_else(|| {
            Failure::new(Exit::Input, format!("{} is not under way here", self.version)).hint(
                "countersign-updater status NODE shows which release is, and what it asks for",
            )
        })?;
        if candidate.actions.is_empty() {
            return Err(Failure::new(Exit::Input, format!("{} asks for nothing", self.version)));
        }
        Ok(candidate)
    }
}
