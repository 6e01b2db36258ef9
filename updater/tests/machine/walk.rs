//! Walks every path of the machine: each effect works, fails by either fault, or is cut off before or after, and
//! while nobody looks the supervisor starts what it may. The model checks the invariants at every step.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::model::{Model, Seen, moment, order, rules};
use countersign_updater::machine::journal::{FORMAT, Kind, Record};
use countersign_updater::machine::{
    Action, Blame, Effect, Facts, Ledger, Order, Outcome, Rules, State, Wanted, plan, transition,
};

#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) ledger: Ledger,
    pub(crate) world: Model,
    /// Misfortunes that may still happen on this path.
    left: u32,
    /// How it came here, for whoever has to understand a failure.
    trail: Vec<String>,
}

impl Place {
    fn key(&self) -> String {
        format!("{} {:?} {}", serde_json::to_string(&self.ledger).unwrap(), self.world, self.left)
    }

    fn take(&mut self, kind: Kind, effect: Effect, state: State, order: Option<Order>) {
        let (why, at) = ("walk".to_owned(), moment(0));
        self.trail.push(format!("{kind:?} {effect} -> {} with {:?}", state.name(), self.world));
        self.ledger.take(&Record { v: FORMAT, seq: 1, at, kind, effect, why, state, order });
    }
}

/// Every place that can follow; empty at rest.
pub(crate) fn next(place: &Place, seen: &mut BTreeSet<Effect>) -> Vec<Place> {
    let facts = place.world.facts(&place.ledger);
    let (effect, why) = match plan(&place.ledger, &facts, &rules()) {
        Action::Do { effect, why } => (effect, why),
        Action::Wait { why, .. } => {
            assert!(place.ledger.state.is_rest(), "stuck in {:?}: {why}", place.ledger.state);
            place.world.check_rest(&place.ledger.state);
            let back = matches!(place.ledger.state, State::Committed { .. }) && place.left > 0;
            // The operator wants the old version back.
            return Vec::from_iter(back.then(|| {
                let mut back = place.clone();
                back.left -= 1;
                back.world.leaves = true;
                back
            }));
        }
    };
    assert!(!why.is_empty());
    seen.insert(effect);
    let mut begun = place.clone();
    let marked = transition::before(&place.ledger.state, effect, &facts);
    begun.take(Kind::Intent, effect, marked.clone(), None);

    let mut all = Vec::new();
    let end = |from: &Place, outcome: &Outcome| {
        let mut place = from.clone();
        let state = transition::after(&marked, effect, &why, outcome, &facts);
        let kind = match outcome {
            Outcome::Failed { blame, .. } => Kind::Failed { blame: *blame },
            _ => Kind::Done,
        };
        let order = match outcome {
            Outcome::Ordered(order) => Some(order.clone()),
            _ => None,
        };
        place.take(kind, effect, state, order);
        place
    };
    let mut worked = begun.clone();
    let outcome = worked.world.perform(effect, &marked, &facts);
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
        // The supervisor is killed too: the next one ends whatever runs, and starts what `current` names.
        let mut restarted = cut.clone();
        restarted.world.start();
        all.extend([cut, late, restarted]);
    }
    for by_release in [true, false] {
        let mut failed = begun.clone();
        failed.world.fail.insert(effect, (1, by_release));
        let outcome = failed.world.perform(effect, &marked, &facts);
        failed.world.fail.clear();
        all.push(end(&failed, &outcome));
    }
    match &place.ledger.state {
        State::Probation { .. } if place.world.node == Seen::Up(place.world.current) => {
            let (up, hung) = (place.world.node, Seen::Hung(place.world.current));
            for (crashes, healthy, node) in [(3, true, up), (0, false, up), (1, true, hung)] {
                if node == hung && !place.world.runs_new() {
                    // The old version is as it was.
                    continue;
                }
                let mut bad = place.clone();
                bad.left -= 1;
                (bad.world.crashes, bad.world.healthy) = (crashes, healthy);
                bad.world.node = node;
                all.push(bad);
            }
        }
        state if state.swap().is_none() => {
            let mut gone = place.clone();
            gone.left -= 1;
            gone.world.withdrawn = true;
            all.push(gone);
            if place.world.orders.is_empty() {
                let mut ordered = place.clone();
                ordered.left -= 1;
                // A hold that is over by now: it keeps nobody waiting.
                let (until, reason) = (Some(moment(5)), String::new());
                let hold = Wanted::Hold { version: None, until, reason };
                ordered.world.orders.push(order(1, hold));
                all.push(ordered);
            }
        }
        _ => {}
    }
    all
}

/// Walks every path with at most `misfortunes` of them. Returns how many places there are.
fn walk(world: Model, misfortunes: u32) -> (usize, BTreeSet<Effect>) {
    let start = Place { ledger: Ledger::default(), world, left: misfortunes, trail: Vec::new() };
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
fn every_path_of_versions_that_read_each_others_schemas_ends_well() {
    for (reads, open) in [(true, false), (false, true), (true, true)] {
        let (places, effects) = walk(Model { reads, open, ..Model::new(true) }, 2);
        assert!(places > 500, "{places}");
        assert_eq!(effects.contains(&Effect::MigrateBack), !(reads && open), "{reads} {open}");
    }
}

#[test]
fn every_path_with_three_misfortunes_ends_well_and_every_effect_is_on_one() {
    let (places, mut effects) = walk(Model::new(true), 3);
    let (more, others) = walk(Model::new(false), 3);
    effects.extend(others);
    let (beside, others) = walk(Model::overlapping(), 3);
    for stops in [Effect::CopyAhead, Effect::Snapshot, Effect::Migrate, Effect::Restore] {
        assert!(!others.contains(&stops), "{stops} belongs to a swap that stops the node");
    }
    effects.extend(others);
    assert_eq!(effects, Effect::ALL.iter().copied().collect());
    assert!(places + more + beside > 10_000, "{places} + {more} + {beside} places");
}

/// The one path without further misfortunes, every place of it.
pub(crate) fn alone(world: Model) -> Vec<Place> {
    let start = Place { ledger: Ledger::default(), world, left: 0, trail: Vec::new() };
    go_on(start)
}

pub(crate) fn go_on(start: Place) -> Vec<Place> {
    let mut path = vec![start];
    while let Some(place) = next(path.last().unwrap(), &mut BTreeSet::new()).into_iter().next() {
        assert!(path.len() < 1000, "it goes on for ever in {}", place.ledger.state.name());
        path.push(place);
    }
    path
}

#[test]
fn where_both_versions_may_run_at_once_one_of_them_serves_at_every_step() {
    let sick = Model { healthy: false, ..Model::overlapping() };
    let mut mute = Model::overlapping();
    mute.fail.insert(Effect::HandOver, (1, true));
    for (world, end) in
        [(Model::overlapping(), "Committed"), (sick, "RolledBack"), (mute, "RolledBack")]
    {
        let path = alone(world);
        assert!(path.iter().all(|place| matches!(place.world.node, Seen::Up(_))));
        assert_eq!(path.last().unwrap().ledger.state.name(), end);
    }
}

#[test]
fn a_hand_over_back_that_fails_stops_the_condemned_version_and_starts_the_old_one() {
    let mut path = alone(Model { healthy: false, ..Model::overlapping() });
    let is_on_its_way = |place: &Place| {
        let undo = place.ledger.state.swap().and_then(|swap| swap.undo.clone());
        undo.is_some_and(|undo| undo.restarted.is_none())
    };
    path.retain(is_on_its_way);
    let mut place = path.pop().unwrap();
    place.world.fail.insert(Effect::HandOver, (1, true));
    let end = go_on(place).pop().unwrap();
    let State::RolledBack { undo, .. } = &end.ledger.state else { panic!("{:?}", end.ledger) };
    assert!(undo.stuck.is_some());
    end.world.check_rest(&end.ledger.state);
}

#[test]
fn a_new_version_that_crashes_once_and_then_hangs_at_its_start_is_rolled_back_and_blamed() {
    let path = alone(Model::new(true));
    let probation = |place: &&Place| matches!(place.ledger.state, State::Probation { .. });
    let mut place = path.iter().find(probation).unwrap().clone();
    (place.world.crashes, place.world.node) = (1, Seen::Hung(place.world.current));
    let end = go_on(place).pop().unwrap();
    let State::RolledBack { undo, .. } = &end.ledger.state else { panic!("{:?}", end.ledger) };
    assert_eq!(undo.blame, Blame::Release);
    assert!(undo.reason.contains("not been ready"), "{}", undo.reason);
    end.world.check_rest(&end.ledger.state);
}

#[test]
fn a_new_version_that_falls_ill_on_a_full_disk_is_rolled_back_and_not_known_bad() {
    let path = alone(Model::new(true));
    let probation = |place: &&Place| matches!(place.ledger.state, State::Probation { .. });
    let well = path.iter().find(probation).unwrap();
    for (crashes, healthy, node) in
        [(3, true, well.world.node), (0, false, well.world.node), (0, true, Seen::Down)]
    {
        let mut place = well.clone();
        (place.world.crashes, place.world.healthy, place.world.node) = (crashes, healthy, node);
        // A node that its supervisor could not even start says nothing about the release.
        place.world.full = node != Seen::Down;
        let mut path = vec![place];
        while !path.last().unwrap().ledger.state.is_rest() {
            path.push(next(path.last().unwrap(), &mut BTreeSet::new()).remove(0));
        }
        let end = path.pop().unwrap();
        let State::RolledBack { undo, .. } = &end.ledger.state else { panic!("{:?}", end.ledger) };
        assert_eq!(undo.blame, Blame::World, "{}", undo.reason);
        assert!(end.ledger.bad.is_empty() && end.ledger.attempts.len() == 1);
    }
}

#[test]
fn a_backward_migration_that_fails_by_the_worlds_fault_is_tried_again_and_keeps_every_write() {
    let mut world = Model { healthy: false, ..Model::new(true) };
    world.fail.insert(Effect::MigrateBack, (3, false));
    let path = alone(world);
    let end = path.last().unwrap();
    let State::RolledBack { undo, .. } = &end.ledger.state else { panic!("{:?}", end.ledger) };
    assert_eq!((&undo.stuck, undo.restored), (&None, None));
    end.world.check_rest(&end.ledger.state);
}

#[test]
fn a_journal_that_is_moved_aside_at_any_step_lets_nothing_start_or_change_between_two_schemas() {
    let mut barred = 0;
    let sick = Model { healthy: false, ..Model::new(true) };
    let mut stuck = sick.clone();
    stuck.fail.insert(Effect::MigrateBack, (1, true));
    for place in [Model::new(true), sick, stuck].into_iter().flat_map(alone) {
        let mut lost = place.clone();
        lost.ledger = Ledger::default();
        lost.world.hold_runs_out();
        if lost.world.marker != Some(lost.world.current) {
            continue;
        }
        barred += 1;
        let facts = lost.world.facts(&lost.ledger);
        let Action::Wait { why, .. } = plan(&lost.ledger, &facts, &rules()) else {
            panic!("it acts on {:?}", lost.world)
        };
        assert_eq!(Some(why), facts.barred, "the reason is told");
        // With the journal back, it comes to its end.
        let end = go_on(Place { ledger: place.ledger, ..lost }).pop().unwrap();
        end.world.check_rest(&end.ledger.state);
    }
    assert!(barred > 4, "{barred} places");
}

#[test]
fn a_release_that_cannot_be_unpacked_comes_to_an_end_however_often_it_is_asked_for() {
    let mut world = Model { applies: true, ..Model::new(false) };
    world.fail.insert(Effect::Stage, (99, false));
    let mut end = alone(world).pop().unwrap();
    let tries = |place: &Place| 99 - place.world.fail[&Effect::Stage].0;
    assert_eq!(tries(&end), 3, "the first request was used up by the first try");
    for more in 1..4 {
        end.world.applies = true;
        end = go_on(end).pop().unwrap();
        assert_eq!(tries(&end), 3 + more, "each request is one try");
    }
    // Not at once: a pause remains, whoever asks.
    end.world.applies = true;
    let facts = Facts { now: moment(1), ..end.world.facts(&end.ledger) };
    let patient = Rules { pause: Duration::from_secs(60), ..rules() };
    assert!(matches!(plan(&end.ledger, &facts, &patient), Action::Wait { until: Some(_), .. }));
}

#[test]
fn a_release_that_is_withdrawn_and_announced_again_keeps_its_first_hold_off() {
    let path = alone(Model::new(true));
    let held = |place: &&Place| matches!(place.ledger.state, State::Held { .. });
    let mut place = path.iter().find(held).unwrap().clone();
    let first = place.ledger.state.clone();
    place.world.withdrawn = true;
    place = go_on(place).pop().unwrap();
    assert_eq!(place.ledger.state, State::Idle);
    place.world.withdrawn = false;
    let again = go_on(place);
    assert_eq!(again.iter().find(held).unwrap().ledger.state, first);
    let end = again.last().unwrap();
    assert_eq!(end.world.draws, 1);
    assert!(end.ledger.holds.is_empty(), "what is committed waits for nothing");
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
    place.world.fail.insert(Effect::Stage, (99, false));
    for _ in 0..100 {
        match next(&place, &mut BTreeSet::new()).into_iter().next() {
            Some(next) => place = next,
            None => break,
        }
    }
    assert_eq!(place.world.fail[&Effect::Stage].0, 96);
    assert!(place.ledger.bad.is_empty(), "the world's fault is not the release's");
}

#[test]
fn a_release_that_cannot_be_fetched_for_a_while_is_taken_when_it_can_and_nobody_has_to_say_so() {
    let mut world = Model::new(false);
    world.fail.insert(Effect::Fetch, (12, false));
    let path = alone(world);
    let tried = |place: &Place| place.ledger.attempts.values().map(|tried| tried.count).max();
    assert_eq!(path.iter().filter_map(tried).max(), Some(12));
    let end = path.last().unwrap();
    assert!(matches!(end.ledger.state, State::Committed { .. }), "{:?}", end.ledger.state);
    // Not at once, and more and more seldom.
    let failed = path.iter().find(|place| tried(place) == Some(4)).unwrap();
    let last = failed.ledger.attempts.values().next().unwrap().last.clone();
    let facts = Facts { now: last.clone(), ..failed.world.facts(&failed.ledger) };
    let patient = Rules { pause: Duration::from_secs(60), ..rules() };
    let Action::Wait { until: Some(until), .. } = plan(&failed.ledger, &facts, &patient) else {
        panic!("it is tried at once")
    };
    assert_eq!(last.until(&until), Duration::from_secs(60 * 8));
}
