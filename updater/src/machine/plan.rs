//! The law: from what is known to the next step, with the reason. Pure: no clock, network or disk in here.

use std::time::Duration;

use super::facts::{Facts, Health, Leave, Node, Offer, Rules};
use super::state::Undo;
use super::{Candidate, Effect, Ledger, Moment, State, Swap, back, state};
use crate::config::Mode;
use crate::hold::Hold;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// One effect, now.
    Do {
        /// Which.
        effect: Effect,
        /// Why, to a person.
        why: String,
    },
    /// Nothing before something changes, or before `until`.
    Wait {
        /// Why, to a person.
        why: String,
        /// When to look again at the latest, if that is known.
        until: Option<Moment>,
    },
}

/// Longest pause before a step that failed is tried again from the same state.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Longest pause before a release is tried again.
const LONGEST_PAUSE: Duration = Duration::from_hours(6);

/// How soon a lease that somebody else has is asked for again.
const LEASE_POLL: Duration = Duration::from_secs(5);

pub(super) fn act(effect: Effect, why: impl Into<String>) -> Action {
    Action::Do { effect, why: why.into() }
}

pub(super) fn wait(why: impl Into<String>) -> Action {
    Action::Wait { why: why.into(), until: None }
}

/// Decides the next step. Every state has an exit: see the tests.
pub fn plan(ledger: &Ledger, facts: &Facts, rules: &Rules) -> Action {
    if let (Some(barred), None) = (&facts.barred, ledger.state.swap()) {
        // Whatever was done now would be done without knowing the way back.
        return wait(barred);
    }
    if let (Some(order), None) = (facts.orders.first(), ledger.state.swap()) {
        return patient(act(Effect::Order, order.what.to_string()), ledger, &facts.now);
    }
    if let Some(action) = facts.leave.as_ref().and_then(|leave| leaves(ledger, leave, facts)) {
        return patient(action, ledger, &facts.now);
    }
    let action = match &ledger.state {
        State::Idle | State::Committed { .. } | State::RolledBack { .. } => {
            rest(ledger, facts, rules)
        }
        State::Announced { candidate, fetched } => {
            stands(candidate, facts).unwrap_or_else(|| match fetched {
                false => act(Effect::Fetch, format!("{} is wanted", candidate.version)),
                true => act(Effect::Stage, "the artifact is here"),
            })
        }
        State::Staged { candidate, copied } => {
            stands(candidate, facts).unwrap_or_else(|| shadow(facts, *copied))
        }
        State::Shadowed { candidate, .. } => stands(candidate, facts).unwrap_or_else(|| {
            act(Effect::DrawHold, "it did nothing in the shadow that it may not")
        }),
        State::Held { candidate, hold, .. } => stands(candidate, facts)
            .or_else(|| moved(hold, facts))
            .unwrap_or_else(|| held(candidate, hold, ledger, facts, rules)),
        State::Leased(swap)
        | State::Stopped(swap)
        | State::Snapshotted(swap)
        | State::Migrated(swap)
        | State::Switched(swap)
        | State::Probation { swap, .. } => match &swap.undo {
            Some(undo) => back::plan(swap, undo, facts),
            None => forward(&ledger.state, swap, facts, rules),
        },
    };
    patient(action, ledger, &facts.now)
}

/// A step that just failed waits a little longer each time.
fn patient(action: Action, ledger: &Ledger, now: &Moment) -> Action {
    let Action::Do { effect, .. } = &action else { return action };
    let Some(trouble) = ledger.trouble.as_ref().filter(|t| t.effect == *effect) else {
        return action;
    };
    let until = trouble.last.after(doubled(Duration::from_secs(1), trouble.count, LONGEST_RETRY));
    if now.reached(&until) {
        return action;
    }
    let why = format!(
        "could not {}: {} (try {} at {until})",
        effect.sentence(),
        trouble.reason,
        trouble.count + 1
    );
    Action::Wait { why, until: Some(until) }
}

fn doubled(first: Duration, count: u32, longest: Duration) -> Duration {
    let factor = 1u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

fn rest(ledger: &Ledger, facts: &Facts, rules: &Rules) -> Action {
    let (candidate, reason) = match &facts.offer {
        Offer::Unasked => return wait("the repository was not asked"),
        Offer::Unknown { reason } | Offer::Nothing { reason } => return wait(reason),
        Offer::Release { candidate, reason, .. } => (candidate, reason),
    };
    let version = &candidate.version;
    if candidate.artifact == facts.current.artifact {
        return wait(format!("{version} runs already"));
    }
    if let Some(bad) = ledger.bad.get(&candidate.artifact) {
        return wait(format!("{version} is known bad since {}: {}", bad.at, bad.reason));
    }
    let asked = facts.apply.as_ref().is_some_and(|apply| apply.means(&candidate.artifact));
    if let Some(tried) = ledger.attempts.get(&candidate.artifact) {
        // Announcing takes the request up, so that it lifts the limit once.
        // What could not be fetched was not tried: mirrors come back, and nobody should have to say so.
        if tried.count >= rules.attempts && tried.step != Effect::Fetch && !asked {
            return wait(format!(
                "{version} failed {} times and is left alone until `apply`: {}",
                tried.count, tried.reason
            ));
        }
        let doublings = if asked { 1 } else { tried.count };
        let until = tried.last.after(doubled(rules.pause, doublings, LONGEST_PAUSE));
        if !facts.now.reached(&until) {
            let why = format!("{version} is tried again at {until}: {}", tried.reason);
            return Action::Wait { why, until: Some(until) };
        }
    }
    act(Effect::Announce, reason)
}

/// Until the lease, a candidate must still be what the repository and policy offer. `None`: it is.
fn stands(candidate: &Candidate, facts: &Facts) -> Option<Action> {
    let version = &candidate.version;
    match &facts.offer {
        Offer::Release { candidate: offered, .. } if offered.is_same_release(candidate) => None,
        Offer::Release { candidate: other, .. } => Some(act(
            Effect::Withdraw,
            format!("{version} is overtaken by {} ({})", other.version, other.artifact.short()),
        )),
        Offer::Nothing { reason } => {
            Some(act(Effect::Withdraw, format!("{version} is no longer offered: {reason}")))
        }
        Offer::Unknown { reason } => {
            Some(wait(format!("whether {version} still stands is not known: {reason}")))
        }
        Offer::Unasked => Some(wait(format!("whether {version} still stands was not asked"))),
    }
}

fn shadow(facts: &Facts, copied: bool) -> Action {
    if copied {
        return act(Effect::Shadow, "a copy of the state is ready");
    }
    match &facts.node {
        Node::Unreachable { reason } => wait(no_supervisor(reason)),
        _ => act(Effect::CopyState, "the shadow needs a copy of the state"),
    }
}

pub(super) fn no_supervisor(reason: &str) -> String {
    format!("the supervisor does not answer ({reason}); start `countersign-updater supervise`")
}

/// The operator wants what ran before. `None`: it is no matter of the present state.
fn leaves(ledger: &Ledger, leave: &Leave, facts: &Facts) -> Option<Action> {
    match &ledger.state {
        at if at.is_about(&leave.artifact) => {
            let undone = at.swap().is_some_and(|swap| swap.undo.is_some());
            (!undone).then(|| act(Effect::Condemn, leave.to_string()))
        }
        at if facts.current.artifact != leave.artifact || at.swap().is_some() => None,
        at if !at.is_rest() => {
            Some(act(Effect::Withdraw, format!("{} is to be left first", leave.version)))
        }
        _ => Some(match &facts.back {
            None => wait("what ran before was not looked for"),
            Some(Err(reason)) => wait(format!("cannot leave {}: {reason}", leave.version)),
            Some(Ok(_)) => leased(facts).unwrap_or_else(|| act(Effect::Recall, leave.to_string())),
        }),
    }
}

/// Keyholders have moved the hold-off, or a new boot has a clock of its own.
fn moved(hold: &Hold, facts: &Facts) -> Option<Action> {
    let Offer::Release { terms, .. } = &facts.offer else { return None };
    hold.outdated(terms, &facts.now).map(|why| act(Effect::DrawHold, why))
}

fn held(
    candidate: &Candidate,
    hold: &Hold,
    ledger: &Ledger,
    facts: &Facts,
    rules: &Rules,
) -> Action {
    let version = &candidate.version;
    let open = ledger.standing.open(candidate);
    if !open.is_empty() {
        let open: Vec<_> = open.iter().map(|(id, text)| format!("{text} ({id})")).collect();
        return wait(format!(
            "{version} waits until you have done and accepted: {}",
            open.join("; ")
        ));
    }
    if let Some(stay) = ledger.standing.hold.as_ref().filter(|stay| stay.stands(&facts.now)) {
        return Action::Wait { why: format!("{version} waits: {stay}"), until: stay.until.clone() };
    }
    let asked = candidate.asked
        || facts.apply.as_ref().is_some_and(|apply| apply.means(&candidate.artifact));
    if !asked && let Some(action) = not_yet(candidate, hold, facts, rules) {
        return action;
    }
    let why = if asked { "the operator asked for it" } else { "its time has come" };
    leased(facts).unwrap_or_else(|| act(Effect::Lease, why))
}

/// Its time has not come.
fn not_yet(candidate: &Candidate, hold: &Hold, facts: &Facts, rules: &Rules) -> Option<Action> {
    let version = &candidate.version;
    if rules.mode == Mode::Manual {
        return Some(wait(format!("{version} waits for `countersign-updater apply`")));
    }
    let end = hold.end(&facts.now);
    if !facts.now.reached(end) {
        let why = format!("{version} waits until {end}");
        return Some(Action::Wait { why, until: Some(end.clone()) });
    }
    let restarted = match &facts.node {
        // While it does not run, nobody is interrupted.
        Node::Down { .. } => true,
        _ => facts.since.as_ref().is_some_and(|since| since.reached(end)),
    };
    (rules.mode == Mode::OnRestart && !restarted)
        .then(|| wait(format!("{version} waits for the next restart of the node")))
}

/// What stands in the way of taking the lease. `None`: nothing.
fn leased(facts: &Facts) -> Option<Action> {
    if let Node::Unreachable { reason } = &facts.node {
        return Some(wait(no_supervisor(reason)));
    }
    facts.lease_taken.as_ref().map(|holder| {
        let until = Some(facts.now.after(LEASE_POLL));
        Action::Wait { why: format!("another swap has the lease: {holder}"), until }
    })
}

/// The way forward from the lease to the end of probation.
fn forward(at: &State, swap: &Swap, facts: &Facts, rules: &Rules) -> Action {
    let switched = matches!(at, State::Switched(_) | State::Probation { .. });
    let current = &facts.current;
    let expected = if switched {
        swap.to == Some(current.generation)
    } else {
        // A crash between the rename and its record leaves the new version in place already.
        current.generation == swap.from
            || (may_be_renamed(at, swap) && current.artifact == swap.candidate.artifact)
    };
    if !expected {
        let why = format!("somebody else pointed `current` to generation {}", current.generation);
        return act(Effect::Condemn, why);
    }
    if let Node::Unreachable { reason } = &facts.node {
        return wait(no_supervisor(reason));
    }
    let held = facts.node == Node::Held;
    let stop = || act(Effect::Stop, "the old version must not write from here on");
    match at {
        // What runs serves on until the other is ready: there is no moment in which the state could be copied.
        State::Leased(_) if swap.overlap => {
            act(Effect::Switch, "both versions may run at once, and no area changes its schema")
        }
        State::Leased(_) if !swap.ahead => {
            act(Effect::CopyAhead, "what is copied now need not be copied while it is stopped")
        }
        State::Leased(_) => stop(),
        State::Migrated(_) if current.generation != swap.from => {
            act(Effect::Switch, "`current` names the new version already")
        }
        State::Stopped(_) | State::Snapshotted(_) | State::Migrated(_) if !held => stop(),
        State::Stopped(_) => act(Effect::Snapshot, "nothing writes the state now"),
        State::Snapshotted(_) => match swap.next_forward() {
            Some(state::Step { area, from, to, .. }) => {
                act(Effect::Migrate, format!("{area} goes from schema {from} to {to}"))
            }
            None => act(Effect::Migrate, "no area changes its schema"),
        },
        State::Migrated(_) => act(Effect::Switch, "state and snapshot are ready"),
        State::Switched(_) if swap.overlap => {
            act(Effect::HandOver, "`current` names the new version, and the old one serves")
        }
        State::Switched(_) => act(Effect::Start, "`current` names the new version"),
        State::Probation { since, .. } => probation(swap, since, facts, rules),
        _ => wait("nothing is under way"),
    }
}

/// Whether the next record after this state may be the one of the rename.
fn may_be_renamed(at: &State, swap: &Swap) -> bool {
    match at {
        State::Migrated(_) => true,
        State::Leased(_) => swap.overlap,
        _ => false,
    }
}

fn probation(swap: &Swap, since: &Moment, facts: &Facts, rules: &Rules) -> Action {
    let version = &swap.candidate.version;
    let crashes = match &facts.node {
        Node::Up { crashes, .. } | Node::Starting { crashes, .. } | Node::Down { crashes, .. } => {
            *crashes
        }
        Node::Held => return act(Effect::Start, format!("{version} is stopped")),
        Node::Unreachable { .. } => 0,
    };
    if crashes >= rules.crashes {
        return act(Effect::Condemn, format!("{version} crashed {crashes} times in probation"));
    }
    if facts.unready >= rules.ready
        && !matches!(facts.node, Node::Up { .. } | Node::Unreachable { .. })
    {
        let why = format!("{version} has not been ready for {:?} in probation", facts.unready);
        return act(Effect::Condemn, why);
    }
    match &facts.health {
        Health::Bad { lasting, reason } if *lasting >= rules.patience => {
            return act(Effect::Condemn, format!("{version} is not healthy: {reason}"));
        }
        _ => {}
    }
    // Each crash earns another whole window: a version that crashes once a window is not a healthy one.
    let until = since.after(rules.probation.saturating_mul(crashes.saturating_add(1)));
    if !facts.now.reached(&until) {
        let why = format!("{version} is watched until {until}");
        return Action::Wait { why, until: Some(until) };
    }
    match (&facts.node, &facts.health) {
        (Node::Up { .. }, Health::Good) => {
            act(Effect::Conclude, format!("{version} was healthy through its probation"))
        }
        (Node::Down { reason, .. }, _) => wait(format!("{version} does not run: {reason}")),
        (Node::Up { .. }, Health::Unasked) => {
            wait(format!("{version} serves, and the version before it has not ended yet"))
        }
        (Node::Up { .. }, Health::Pending { reason }) => {
            wait(format!("{version} is not known to be healthy yet: {reason}"))
        }
        (_, Health::Bad { reason, .. }) => wait(format!("{version} is not healthy yet: {reason}")),
        _ => wait(format!("{version} is not ready yet")),
    }
}

/// Whether a decision to go back blames the release. Only what the release did counts against it.
pub(super) fn blames_release(at: &State, facts: &Facts) -> bool {
    match at {
        // A supervisor that cannot even start a node has counted no crash of it.
        State::Probation { swap, .. } => {
            swap.to == Some(facts.current.generation)
                && facts.lacking.is_none()
                && !matches!(facts.node, Node::Down { crashes: 0, .. })
        }
        _ => false,
    }
}

/// The undo that a [`Effect::Condemn`] begins.
pub(super) fn condemned(reason: &str, blame: state::Blame) -> Undo {
    Undo {
        reason: reason.to_owned(),
        blame,
        stuck: None,
        restored: None,
        kept_aside: None,
        generation: None,
        restarted: None,
    }
}
