//! From one state to the next: what an effect's outcome makes of the state. Pure and total.

use super::facts::{Back, Current, Facts};
use super::plan::{blames_release, condemned};
use super::state::{Blame, Progress, Restarted};
use super::{Candidate, Effect, Moment, Order, State, Swap, state};
use crate::hold::Hold;
use countersign_metadata::{Area, Sha256};

/// What an effect brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; there is nothing to remember but that.
    Done,
    /// The release that was settled on.
    Candidate(Candidate),
    /// Digest of the shadow's report.
    Report(Sha256),
    /// The hold-off.
    Hold(Hold),
    /// The order that was taken down.
    Ordered(Order),
    /// The lease's fencing number.
    Fence(u64),

    /// The snapshot's number.
    Snapshot(u64),
    /// The area that was migrated; `None` if none changes.
    Area(Option<Area>),
    /// The generation that `current` names now.
    Generation(u64),
    /// The data directory that the snapshot was restored into.
    Restored(u64),
    /// The node is ready since.
    Ready(Moment),
    /// It did not work.
    Failed {
        /// Whose fault it is.
        blame: Blame,
        /// Why, to a person.
        reason: String,
    },
}

/// The state that holds while an effect is tried: what cannot be known after a crash is marked beforehand.
pub fn before(state: &State, effect: Effect, facts: &Facts) -> State {
    match (effect, state.clone()) {
        (Effect::Migrate, at) => at.with_swap(|swap| {
            let mut ahead = swap.areas.iter_mut().filter(|step| !step.lazy);
            if let Some(step) = ahead.find(|step| step.progress != Progress::Forward) {
                step.progress = Progress::Begun;
            }
        }),
        // Once `current` names it, the new version may be started by its supervisor alone, and write.
        (Effect::Switch, at) => at.with_swap(|swap| {
            for step in swap.areas.iter_mut().filter(|step| step.lazy) {
                step.progress = Progress::Begun;
            }
        }),
        // Leased is left only when the node has stopped. From later states this is a second stop: the node was
        // started meanwhile, and the next look after a crash would not show that any more.
        (Effect::Stop, at @ State::Leased(_)) => at,
        (Effect::Stop, at) => stopped(at, facts),
        (_, at) => at,
    }
}

/// The state after `effect`, planned for the reason `why` upon `facts`, had this outcome. An outcome that does
/// not belong to the effect changes nothing.
pub fn after(state: &State, effect: Effect, why: &str, outcome: &Outcome, facts: &Facts) -> State {
    if let Outcome::Failed { blame, reason } = outcome {
        return failed(state, effect, *blame, reason);
    }
    let at = state.clone();
    match (effect, outcome, at) {
        (Effect::Announce, Outcome::Candidate(candidate), _) => {
            State::Announced { candidate: candidate.clone(), fetched: false }
        }
        (Effect::Fetch, _, State::Announced { candidate, .. }) => {
            State::Announced { candidate, fetched: true }
        }
        (Effect::Stage, _, State::Announced { candidate, .. }) => {
            State::Staged { candidate, copied: false }
        }
        (Effect::CopyState, _, State::Staged { candidate, .. }) => {
            State::Staged { candidate, copied: true }
        }
        (Effect::Shadow, Outcome::Report(report), State::Staged { candidate, .. }) => {
            State::Shadowed { candidate, report: *report }
        }
        (Effect::DrawHold, Outcome::Hold(hold), State::Shadowed { candidate, report }) => {
            State::Held { candidate, report, hold: hold.clone() }
        }
        (Effect::DrawHold, Outcome::Hold(hold), State::Held { candidate, report, .. }) => {
            State::Held { candidate, report, hold: hold.clone() }
        }
        (Effect::Order, _, at) => at,
        (Effect::Recall, Outcome::Fence(fence), at) if at.is_rest() => match &facts.back {
            Some(Ok(back)) => State::Switched(recalled(back, *fence, why, &facts.current)),
            _ => at,
        },
        (Effect::Withdraw, _, _) => State::Idle,
        (Effect::Lease, Outcome::Fence(fence), State::Held { candidate, report, .. }) => {
            State::Leased(begin(candidate, report, *fence, facts))
        }
        (Effect::Condemn, _, at) => {
            let wanted = facts.leave.as_ref().filter(|leave| state.is_about(&leave.artifact));
            let blames = wanted.is_some() || blames_release(state, facts);
            let blame = if blames { Blame::Release } else { Blame::World };
            let why = match facts.lacking.as_ref().filter(|_| wanted.is_none()) {
                Some(lacking) => format!("{why}; not held against it: {lacking}"),
                None => why.to_owned(),
            };
            at.with_swap(|swap| swap.undo = Some(condemned(&why, blame)))
        }
        (Effect::Conclude, _, at) => concluded(at, facts),
        (Effect::Stop, _, at) => stopped(at, facts),
        (_, _, at) if at.swap().is_some_and(|swap| swap.undo.is_some()) => {
            backward(at, effect, outcome, facts)
        }
        (_, _, at) => forward(at, effect, outcome),
    }
}

/// The way back from what was committed: a swap that came all the way and was then condemned.
fn recalled(back: &Back, fence: u64, reason: &str, current: &Current) -> Swap {
    let left = &back.left;
    Swap {
        candidate: left.candidate.clone(),
        report: left.report,
        from: left.from,
        data: current.data,
        fence,
        ahead: true,
        snapshot: None,
        areas: left.areas.clone(),
        // What could run beside the old version when it came can do so when it goes.
        overlap: left.candidate.overlap && left.areas.is_empty(),
        to: Some(current.generation),
        undo: Some(condemned(reason, Blame::Release)),
    }
}

fn begin(candidate: Candidate, report: Sha256, fence: u64, facts: &Facts) -> Swap {
    let areas = state::steps(&facts.current, &candidate);
    Swap {
        overlap: candidate.overlap && areas.is_empty(),
        areas,
        candidate,
        report,
        from: facts.current.generation,
        data: facts.current.data,
        fence,
        ahead: false,
        snapshot: None,
        to: None,
        undo: None,
    }
}

fn forward(at: State, effect: Effect, outcome: &Outcome) -> State {
    match (effect, outcome, at) {
        (Effect::CopyAhead, _, State::Leased(swap)) => State::Leased(Swap { ahead: true, ..swap }),
        (Effect::Snapshot, Outcome::Snapshot(n), State::Stopped(swap)) => {
            State::Snapshotted(Swap { snapshot: Some(*n), ..swap })
        }
        (Effect::Migrate, Outcome::Area(area), State::Snapshotted(mut swap)) => {
            for step in swap.areas.iter_mut().filter(|step| Some(&step.area) == area.as_ref()) {
                step.progress = Progress::Forward;
            }
            match swap.next_forward() {
                Some(_) => State::Snapshotted(swap),
                None => State::Migrated(swap),
            }
        }
        (Effect::Switch, Outcome::Generation(n), State::Migrated(swap) | State::Leased(swap)) => {
            State::Switched(Swap { to: Some(*n), ..swap })
        }
        (Effect::Start | Effect::HandOver, Outcome::Ready(since), State::Switched(swap)) => {
            State::Probation { swap, since: since.clone() }
        }
        (_, _, at) => at,
    }
}

/// While it was not held, the old version may have been started and have written: the snapshot is taken again. Not
/// so where an area was touched: the bar that is set before keeps every version from being started.
fn stopped(at: State, facts: &Facts) -> State {
    let at = at.with_swap(|swap| {
        let switched = facts.current.artifact == swap.candidate.artifact;
        for step in swap.areas.iter_mut().filter(|_| facts.barred.is_none()) {
            if step.progress == Progress::Begun && !(step.lazy && switched) {
                step.progress = Progress::Untouched;
            }
        }
    });
    match at {
        State::Leased(swap)
        | State::Stopped(swap)
        | State::Snapshotted(swap)
        | State::Migrated(swap)
            if !swap.touched() =>
        {
            State::Stopped(Swap { snapshot: None, ..swap })
        }
        at => at,
    }
}

fn backward(at: State, effect: Effect, outcome: &Outcome, facts: &Facts) -> State {
    at.with_swap(|swap| {
        let data = facts.current.data;
        let Some(undo) = &mut swap.undo else { return };
        match (effect, outcome) {
            (Effect::MigrateBack, Outcome::Area(Some(area))) => {
                for step in swap.areas.iter_mut().filter(|step| step.area == *area) {
                    step.progress = Progress::Back;
                }
            }
            (Effect::Restore, Outcome::Restored(number)) => {
                undo.restored = Some(*number);
                undo.kept_aside = Some(data);
            }
            (Effect::SwitchBack, Outcome::Generation(number)) => undo.generation = Some(*number),
            (Effect::Start | Effect::HandOver, _) => undo.restarted = Some(Restarted::Ready),
            _ => {}
        }
    })
}

fn concluded(at: State, facts: &Facts) -> State {
    let generation = facts.current.generation;
    match at.swap().cloned() {
        Some(Swap { candidate, undo: Some(undo), .. }) => {
            State::RolledBack { candidate, undo, generation }
        }
        Some(Swap { candidate, undo: None, .. }) => State::Committed { candidate, generation },
        None => at,
    }
}

fn failed(state: &State, effect: Effect, blame: Blame, reason: &str) -> State {
    let undoing = state.swap().is_some_and(|swap| swap.undo.is_some());
    match (effect, state) {
        (Effect::Order, at) => at.clone(),
        (_, State::Announced { .. } | State::Staged { .. } | State::Shadowed { .. }) => State::Idle,
        // Anything but the release's own fault is worth another try before the snapshot is restored.
        (Effect::MigrateBack, at) if undoing && blame == Blame::Release => {
            at.clone().with_swap(|swap| {
                if let Some(undo) = &mut swap.undo {
                    undo.stuck = Some(reason.to_owned());
                }
            })
        }
        // It was started and is not ready: that is the supervisor's to keep trying, the swap is over.
        (Effect::Start, at) if undoing && blame == Blame::Release => at.clone().with_swap(|swap| {
            if let Some(undo) = &mut swap.undo {
                undo.restarted = Some(Restarted::Troubled(reason.to_owned()));
            }
        }),
        // The condemned version serves still: it is stopped, and the old one started in its place.
        (Effect::HandOver, at) if undoing => at.clone().with_swap(|swap| {
            if let Some(undo) = &mut swap.undo {
                undo.stuck = Some(reason.to_owned());
            }
        }),
        (Effect::Conclude, at) => at.clone(),
        (_, at) if undoing => at.clone(),
        (_, at) => at.clone().with_swap(|swap| swap.undo = Some(condemned(reason, blame))),
    }
}
