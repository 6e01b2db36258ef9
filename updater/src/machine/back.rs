//! The way back: from a condemned swap to the old version on a state that it can read.
//!
//! Without a schema change the binary alone goes back and every write stays. With one, each touched area is
//! migrated back on the live state. Only if that fails is the snapshot restored, into a new data directory,
//! and the newer one kept aside. Where both versions may run at once, the new one serves until the old one is ready.

use super::facts::{Facts, Node};
use super::plan::{Action, act, no_supervisor, wait};
use super::state::{Step, Undo};
use super::{Effect, Swap};

pub(super) fn plan(swap: &Swap, undo: &Undo, facts: &Facts) -> Action {
    if let Node::Unreachable { reason } = &facts.node {
        return wait(no_supervisor(reason));
    }
    if undo.restarted.is_some() {
        return act(Effect::Conclude, "the old version was started again");
    }
    let switched = facts.current.artifact == swap.candidate.artifact;
    if swap.overlap {
        // Whatever serves goes on until the old version is ready beside it.
        return match &undo.stuck {
            _ if undo.generation.is_none() && switched => {
                act(Effect::SwitchBack, "both versions may run at once")
            }
            None => act(Effect::HandOver, "`current` names the old version"),
            Some(_) if facts.node == Node::Held => {
                act(Effect::Start, "`current` names the old version")
            }
            Some(stuck) => act(Effect::Stop, format!("the old version takes its place: {stuck}")),
        };
    }
    if undo.generation.is_none() && (switched || swap.touched()) {
        if facts.node != Node::Held {
            return act(Effect::Stop, "nothing may write the state on its way back");
        }
        if let Some(action) = state_back(swap, undo) {
            return action;
        }
        if switched || undo.restored.is_some() || swap.left_open() {
            return act(Effect::SwitchBack, "the state is as the old version knows it");
        }
    }
    act(Effect::Start, "`current` names the old version")
}

fn state_back(swap: &Swap, undo: &Undo) -> Option<Action> {
    match (&undo.stuck, swap.next_back()) {
        (_, None) => None,
        _ if undo.restored.is_some() => None,
        (Some(stuck), Some(_)) => Some(act(
            Effect::Restore,
            format!("the way back is barred ({stuck}); the newer state is kept aside"),
        )),
        (None, Some(Step { area, from, to, .. })) => {
            Some(act(Effect::MigrateBack, format!("{area} goes back from schema {to} to {from}")))
        }
    }
}
