//! Walks every path of the machine: each effect works, fails by either fault, or is cut off before or after, and
//! while nobody looks the supervisor starts what it may. The model checks the invariants at every step.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::model::{Model, Seen, moment, rules};
use countersign_updater::machine::journal::{FORMAT, Kind, Record};
use countersign_updater::machine::{
    Action, Blame, Effect, Ledger, Outcome, State, plan, transition,
};

#[derive(Clone)]
struct Place {
    ledger: Ledger,
    world: Model,
    /// Misfortunes that may still happen on this path.
    left: u32,
    /// How it came here, for whoever has to understand a failure.
    trail: Vec<String>,
}

impl Place {
    fn key(&self) -> String {
        format!("{} {:?} {}", serde_json::to_string(&self.ledger).unwrap(), self.world, self.left)
    }

    fn take(&mut self, kind: Kind, effect: Effect, state: State) {
        let why = "walk".to_owned();
        self.trail.push(format!("{kind:?} {effect} -> {} with {:?}", state.name(), self.world));
        self.ledger.take(&Record { v: FORMAT, seq: 1, at: moment(0), kind, effect, why, state });
    }
}

/// Every place that can follow; empty at rest.
fn next(place: &Place, seen: &mut BTreeSet<Effect>) -> Vec<Place> {
    let facts = place.world.facts(&place.ledger);
    let (effect, why) = match plan(&place.ledger, &facts, &rules()) {
        Action::Do { effect, why } => (effect, why),
        Action::Wait { why, .. } => {
            assert!(place.ledger.state.is_rest(), "stuck in {:?}: {why}", place.ledger.state);
            return Vec::new();
        }
    };
    assert!(!why.is_empty());
    seen.insert(effect);
    let mut begun = place.clone();
    let marked = transition::before(&place.ledger.state, effect, &facts);
    begun.take(Kind::Intent, effect, marked.clone());

    let mut all = Vec::new();
    let end = |from: &Place, outcome: &Outcome| {
        let mut place = from.clone();
        let state = transition::after(&marked, effect, &why, outcome, &facts);
        let kind = match outcome {
            Outcome::Failed { blame, .. } => Kind::Failed { blame: *blame },
            _ => Kind::Done,
        };
        place.take(kind, effect, state);
        place
    };
    let mut worked = begun.clone();
    let outcome = worked.world.perform(effect, &marked);
    all.push(end(&worked, &outcome));
    if place.left == 0 {
        return all;
    }
    begun.left -= 1;
    worked.left -= 1;
    // Cut off before and after, with and without the hold running out meanwhile.
    for cut in [begun.clone(), worked] {
        let mut late = cut.clone();
        late.world.hold_runs_out();
        all.extend([cut, late]);
    }
    for by_release in [true, false] {
        let mut failed = begun.clone();
        failed.world.fail.insert(effect, (1, by_release));
        let outcome = failed.world.perform(effect, &marked);
        failed.world.fail.clear();
        all.push(end(&failed, &outcome));
    }
    match &place.ledger.state {
        State::Probation { .. } if place.world.node == Seen::Up(place.world.current) => {
            for (crashes, healthy) in [(3, true), (0, false)] {
                let mut bad = place.clone();
                bad.left -= 1;
                (bad.world.crashes, bad.world.healthy) = (crashes, healthy);
                all.push(bad);
            }
        }
        state if state.swap().is_none() => {
            let mut gone = place.clone();
            gone.left -= 1;
            gone.world.withdrawn = true;
            all.push(gone);
        }
        _ => {}
    }
    all
}

/// Walks every path with at most `misfortunes` of them. Returns how many places there are.
fn walk(migrates: bool, misfortunes: u32) -> (usize, BTreeSet<Effect>) {
    let start = Place {
        ledger: Ledger::default(),
        world: Model::new(migrates),
        left: misfortunes,
        trail: Vec::new(),
    };
    let mut effects = BTreeSet::new();
    let mut known = BTreeSet::from([start.key()]);
    let mut open = vec![start];
    while let Some(place) = open.pop() {
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let following = next(&place, &mut effects);
            if following.is_empty() {
                place.world.check_rest(&place.ledger.state);
            }
            following
        }));
        let following = stepped.unwrap_or_else(|cause| {
            println!("{}", place.trail.join("\n"));
            resume_unwind(cause)
        });
        open.extend(following.into_iter().filter(|place| known.insert(place.key())));
    }
    (known.len(), effects)
}

#[test]
fn every_path_with_three_misfortunes_ends_well_and_every_effect_is_on_one() {
    let (places, mut effects) = walk(true, 3);
    let (more, others) = walk(false, 3);
    effects.extend(others);
    assert_eq!(effects, Effect::ALL.iter().copied().collect());
    assert!(places + more > 10_000, "{places} + {more} places");
}

#[test]
fn a_release_that_failed_by_its_own_fault_is_never_announced_again() {
    let mut place =
        Place { ledger: Ledger::default(), world: Model::new(true), left: 0, trail: Vec::new() };
    place.world.fail.insert(Effect::Migrate, (1, true));
    let mut announced = 0;
    loop {
        let mut effects = BTreeSet::new();
        let following = next(&place, &mut effects);
        announced += usize::from(effects.contains(&Effect::Announce));
        match following.into_iter().next() {
            Some(next) => place = next,
            None => break,
        }
    }
    assert_eq!(announced, 1);
    assert!(
        matches!(&place.ledger.state, State::RolledBack { undo, .. } if undo.blame == Blame::Release)
    );
}

#[test]
fn a_release_that_the_world_keeps_failing_is_left_alone_after_three_tries() {
    let mut place =
        Place { ledger: Ledger::default(), world: Model::new(false), left: 0, trail: Vec::new() };
    place.world.fail.insert(Effect::Fetch, (99, false));
    for _ in 0..100 {
        match next(&place, &mut BTreeSet::new()).into_iter().next() {
            Some(next) => place = next,
            None => break,
        }
    }
    assert_eq!(place.world.fail[&Effect::Fetch].0, 96);
    assert!(place.ledger.bad.is_empty(), "a mirror's fault is not the release's");
}
