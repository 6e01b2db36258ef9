//! `rollback`: leaves what runs for what ran before, by the way that a failed swap takes.

use std::path::PathBuf;
use std::time::Duration;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::agent::{self, AgentError, Options};
use countersign_updater::machine::facts::Leave;
use countersign_updater::machine::state::Step;
use countersign_updater::machine::{State, Until};
use serde_json::json;

use crate::log::Format;
use crate::run::{Narrator, failure};
use crate::{orders, tell};

const EXAMPLES: &str = "\
Examples:
  countersign-updater rollback /srv/examplenode --reason 'answers are twice as slow'
      back to the version that ran before; in the middle of a swap: give that swap up

The state is migrated back, so that every write is kept. Only if a backward migration fails is the snapshot from before the update
restored; what was written since is then kept aside, and named. The version that is left is known bad here until `forgive`. A running
agent is asked to do it; without one this command does it itself.";

/// Go back to the version that ran before
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// Why, for whoever asks `status` later
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = orders::reason)]
    reason: String,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open_to_write(&self.node)?;
        let (ledger, running) = (tell::ledger(&home)?, tell::running(&home)?);
        let leave = match ledger.state.swap() {
            Some(swap) if swap.undo.is_some() => {
                out.say("The node is on its way back already.");
                out.json(&json!({ "asked": "nothing" }));
                return Ok(Exit::Done);
            }
            Some(swap) => {
                out.say(format!("The swap to {} is given up.", swap.candidate.version));
                let (artifact, version) = (swap.candidate.artifact, swap.candidate.version.clone());
                Leave { artifact, version, reason: self.reason }
            }
            None => {
                let back = agent::before(&home, &ledger, &running).map_err(|reason| {
                    Failure::new(
                        Exit::Verdict,
                        format!("cannot go back from {}: {reason}", running.version),
                    )
                    .hint("nothing was changed")
                })?;
                out.say(format!("{} gives way to {}.", running.version, back.version));
                let change =
                    |step: &Step| format!("{} from schema {} to {}", step.area, step.to, step.from);
                let changes: Vec<_> = back.left.back().map(change).collect();
                if !changes.is_empty() {
                    out.say(format!(
                        "  migrates back {}; if that fails, the snapshot from before the update is restored and \
                         today's state is kept aside",
                        changes.join(", ")
                    ));
                }
                Leave { artifact: running.binary, version: running.version, reason: self.reason }
            }
        };
        agent::ask_to_leave(&home, &leave).map_err(|error| tell::disk(&error))?;
        let mut narrator = Narrator::new(out, Format::Text);
        let mut run = |until| {
            agent::run(&home, Options { until, poll: Duration::from_secs(1) }, &mut narrator)
        };
        // A step back that has to be tried again is waited for: nobody is left with a stopped node.
        let ended = run(Until::FirstWait).and_then(|ended| match ended.ledger.state.swap() {
            Some(_) => run(Until::Idle),
            None => Ok(ended),
        });
        match ended {
            Ok(ended) => {
                agent::withdraw_leave(&home).map_err(|error| tell::disk(&error))?;
                let back = matches!(&ended.ledger.state, State::RolledBack { candidate, .. }
                    if candidate.artifact == leave.artifact);
                narrator.finish(&ended.ledger)?;
                // The verdict about what was asked for: it was left, or it was not.
                Ok(if back { Exit::Done } else { Exit::Verdict })
            }
            Err(AgentError::Busy(_)) => {
                out.say("The agent that runs takes it up at its next look.");
                out.json(&json!({ "asked": "agent", "leave": leave }));
                Ok(Exit::Done)
            }
            Err(error) => Err(failure(&error)),
        }
    }
}
