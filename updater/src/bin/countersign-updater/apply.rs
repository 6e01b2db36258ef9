//! `apply`: takes the release that waits, or the next one, without waiting for its time.

use std::path::PathBuf;
use std::time::Duration;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::agent::{self, AgentError, Asked, Options};
use countersign_updater::machine::Until;
use serde_json::json;

use crate::log::Format;
use crate::run::{Narrator, failure, usable};
use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater apply /srv/examplenode
      take the release that waits in its delay, or the next one that is offered, now

Nothing but the delay is skipped: signatures, policy, holds, required actions, shadow and probation are as always. A running agent is asked to do it;
without one this command does it itself.";

/// Take the waiting release now, without the rest of its delay
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open_to_write(&self.node)?;
        let ledger = tell::ledger(&home)?;
        let now = agent::now().map_err(|error| failure(&error))?;
        if let Some(stay) = ledger.standing.hold.as_ref().filter(|stay| stay.stands(&now)) {
            return Err(Failure::new(Exit::Verdict, format!("no swap begins: {stay}"))
                .hint("countersign-updater release NODE lifts the hold"));
        }
        let asked = agent::ask_to_apply(&home, &ledger).map_err(|error| tell::disk(&error))?;
        out.say(match &asked {
            Asked::ThisOne(candidate) => format!("{} is to be taken now", candidate.version),
            Asked::WhateverIsOffered => "whatever is offered is to be taken now".to_owned(),
            Asked::UnderWay => "a swap is under way already: there is nothing to hurry".to_owned(),
        });
        let mut narrator = Narrator::new(out, Format::Text);
        let options = Options { until: Until::Idle, poll: Duration::from_secs(1) };
        match agent::run(&home, options, &mut narrator) {
            Ok(ended) => {
                agent::withdraw_apply(&home).map_err(|error| tell::disk(&error))?;
                let committed = narrator.committed;
                if !committed {
                    usable(&ended)?;
                }
                let exit = narrator.finish(&ended.ledger)?;
                // The verdict about what was asked for: it runs now, or it does not.
                Ok(if committed { exit } else { Exit::Verdict })
            }
            Err(AgentError::Busy(_)) => {
                out.say("the agent that runs takes it up at its next look");
                out.json(&json!({ "asked": "agent" }));
                Ok(Exit::Done)
            }
            Err(error) => Err(failure(&error)),
        }
    }
}
