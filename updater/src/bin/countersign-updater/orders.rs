//! What `hold`, `release`, `accept` and `forgive` have in common: an order is given, and it is said what became of it.

use countersign_console::{Exit, Failure, Out};
use countersign_updater::Home;
use countersign_updater::agent::{self, TakenDown};
use countersign_updater::machine::Wanted;
use serde_json::json;

use crate::run::failure;
use crate::tell;

/// Longest reason, in characters.
const MAX_REASON: usize = 300;

/// A reason in the operator's words: one line of them.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    let plain = text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control);
    if plain { Ok(text.to_owned()) } else { Err(format!("it is one line of at most {MAX_REASON}")) }
}

/// Whether an order waits for the agent already.
pub(crate) fn waiting(home: &Home) -> Result<bool, Failure> {
    let ledger = tell::ledger(home)?;
    agent::pending(home, &ledger).map(|o| !o.is_empty()).map_err(|error| tell::disk(&error))
}

/// Gives the order.
pub(crate) fn give(home: &Home, what: Wanted, out: Out) -> Result<Exit, Failure> {
    out.say(format!("{what}."));
    let taken = agent::order(home, what.clone()).map_err(|error| failure(&error))?;
    let by = match taken {
        TakenDown::Done(_) => "journal",
        TakenDown::Soon => {
            out.say(
                "The agent takes it down at its next look, or after the swap that is under way.",
            );
            "agent"
        }
    };
    out.json(&json!({ "order": what, "taken-down-by": by }));
    Ok(Exit::Done)
}
