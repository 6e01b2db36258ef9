//! What the operator orders, and what a release asks of them: the machine waits, goes on and goes back as it was told.

use std::collections::BTreeSet;

use countersign_metadata::Version;
use countersign_updater::config::Mode;
use countersign_updater::machine::facts::{Apply, Leave, Node};
use countersign_updater::machine::{
    Action, Blame, Effect, Facts, Rules, State, Wanted, plan, state::Restarted,
};

use crate::model::{Model, candidate, moment, order, rules};
use crate::walk::{Place, alone, go_on, next};

fn held(world: Model) -> Place {
    let mut path = vec![go_on_until_held(world)];
    path.remove(0)
}

fn go_on_until_held(world: Model) -> Place {
    let asks = world.asks;
    let is_held = |place: &&Place| matches!(place.ledger.state, State::Held { .. });
    // A release that asks for something is stuck in Held, which the walk does not take for an end.
    let mut free = alone(Model { asks: false, ..world });
    let mut place = free.iter_mut().find(|place| is_held(&&**place)).unwrap().clone();
    place.world.asks = asks;
    if let (State::Held { candidate, .. }, true) = (&mut place.ledger.state, asks) {
        let asked = ("open-port".parse().unwrap(), "Open UDP port 5151".to_owned());
        candidate.actions.extend([asked]);
    }
    place
}

fn ordered(place: &Place, what: Wanted) -> Place {
    let mut place = place.clone();
    let id = place.world.orders.len() as u32;
    place.world.orders.push(order(id, what));
    let mut met = BTreeSet::new();
    let following = next(&place, &mut met);
    assert_eq!(met, BTreeSet::from([Effect::Order]), "an order comes first");
    following.into_iter().next().unwrap()
}

fn planned(place: &Place, change: impl FnOnce(&mut Facts, &mut Rules)) -> Action {
    let (mut facts, mut rules) = (place.world.facts(&place.ledger), rules());
    change(&mut facts, &mut rules);
    plan(&place.ledger, &facts, &rules)
}

fn waits(place: &Place, change: impl FnOnce(&mut Facts, &mut Rules)) -> String {
    match planned(place, change) {
        Action::Wait { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn does(place: &Place, change: impl FnOnce(&mut Facts, &mut Rules)) -> Effect {
    match planned(place, change) {
        Action::Do { effect, .. } => effect,
        other => panic!("{other:?}"),
    }
}

fn hold(version: Option<Version>, until: Option<u64>) -> Wanted {
    Wanted::Hold { version, until: until.map(moment), reason: "the auditors are here".into() }
}

#[test]
fn what_a_release_asks_for_is_waited_for_and_not_even_apply_skips_it() {
    let place = held(Model { asks: true, ..Model::new(true) });
    let why = waits(&place, |_, _| {});
    assert!(why.contains("Open UDP port 5151 (open-port)"), "{why}");
    waits(&place, |facts, _| facts.apply = Some(Apply::Next));
    let accept = |artifact| Wanted::Accept {
        artifact,
        version: "2.0.0".parse().unwrap(),
        actions: BTreeSet::from(["open-port".parse().unwrap()]),
    };
    let other = ordered(&place, accept(countersign_metadata::Sha256::of(b"another")));
    waits(&other, |_, _| {});
    let accepted = ordered(&place, accept(candidate(true).artifact));
    assert_eq!(does(&accepted, |_, _| {}), Effect::Lease);
}

#[test]
fn a_hold_on_everything_begins_no_swap_until_it_is_lifted_or_over() {
    let place = held(Model::new(true));
    assert_eq!(does(&place, |_, _| {}), Effect::Lease);
    let stays = ordered(&place, hold(None, None));
    let why = waits(&stays, |facts, _| facts.apply = Some(Apply::Next));
    assert!(why.contains("the auditors are here"), "{why}");
    let lifted = ordered(&stays, Wanted::Release { version: None });
    assert_eq!(does(&lifted, |_, _| {}), Effect::Lease);
    let ends = ordered(&place, hold(None, Some(1_000_060)));
    let Action::Wait { until, .. } = planned(&ends, |_, _| {}) else { panic!("it is held") };
    assert_eq!(until, Some(moment(1_000_060)));
    assert_eq!(does(&ends, |facts, _| facts.now = moment(1_000_060)), Effect::Lease);
}

#[test]
fn orders_are_taken_down_once_and_stand_in_the_ledger() {
    let place = held(Model::new(true));
    let version: Version = "2.0.0".parse().unwrap();
    let one = ordered(&place, hold(Some(version.clone()), None));
    assert_eq!(one.ledger.state, place.ledger.state, "no state is left by an order");
    assert!(one.ledger.standing.held.contains_key(&version));
    assert_eq!(does(&one, |_, _| {}), Effect::Lease, "the same order is not taken down again");
    let two = ordered(&one, Wanted::Release { version: Some(version) });
    assert!(two.ledger.standing.held.is_empty());
}

#[test]
fn a_node_that_takes_releases_on_its_restart_waits_for_one_after_the_delay() {
    let place = held(Model::new(true));
    let restart = |since: Option<u64>, now: u64| {
        planned(&place, |facts, rules| {
            rules.mode = Mode::OnRestart;
            (facts.now, facts.since) = (moment(now), since.map(moment));
        })
    };
    assert!(matches!(restart(Some(4), 4), Action::Wait { until: Some(_), .. }), "the delay first");
    let Action::Wait { why, until: None } = restart(Some(4), 100) else { panic!("not restarted") };
    assert!(why.contains("next restart"), "{why}");
    let now = Action::Do { effect: Effect::Lease, why: "its time has come".into() };
    assert_eq!(restart(Some(50), 100), now);
    let down = does(&place, |facts, rules| {
        rules.mode = Mode::OnRestart;
        facts.node = Node::Down { reason: "it crashed".into(), crashes: 1 };
    });
    assert_eq!(down, Effect::Lease, "nobody is interrupted");
    let applied = does(&place, |facts, rules| {
        rules.mode = Mode::OnRestart;
        facts.apply = Some(Apply::Next);
    });
    assert_eq!(applied, Effect::Lease);
    waits(&place, |_, rules| rules.mode = Mode::Manual);
}

#[test]
fn a_committed_release_is_left_with_every_write_and_not_taken_again_until_it_is_forgiven() {
    for migrates in [true, false] {
        let mut end = alone(Model { leaves: true, ..Model::new(migrates) }).pop().unwrap();
        let State::RolledBack { undo, .. } = &end.ledger.state else { panic!("{:?}", end.ledger) };
        assert_eq!((undo.blame, undo.restored), (Blame::Release, None));
        assert_eq!(undo.restarted, Some(Restarted::Ready));
        assert!(undo.reason.contains("the operator rolled it back: it is slow"), "{}", undo.reason);
        let artifact = candidate(true).artifact;
        assert!(end.ledger.bad[&artifact].reason.contains("it is slow"));
        assert_eq!(end.ledger.left, None, "what ran before that is not known");
        let version = "2.0.0".parse().unwrap();
        end.world.leaves = false;
        let forgiven = ordered(&end, Wanted::Forgive { artifact, version });
        assert!(forgiven.ledger.bad.is_empty());
        let again = go_on(forgiven).pop().unwrap();
        assert!(matches!(again.ledger.state, State::Committed { .. }), "{:?}", again.ledger.state);
    }
}

#[test]
fn a_backward_migration_that_fails_long_after_the_swap_keeps_todays_state_aside() {
    let mut world = Model { leaves: true, ..Model::new(true) };
    world.fail.insert(Effect::MigrateBack, (1, true));
    let end = alone(world).pop().unwrap();
    let State::RolledBack { undo, .. } = &end.ledger.state else { panic!("{:?}", end.ledger) };
    assert_eq!((undo.restored, undo.kept_aside), (Some(2), Some(1)));
    end.world.check_rest(&end.ledger.state);
}

#[test]
fn a_swap_that_the_operator_gives_up_goes_back_and_is_not_tried_again() {
    let leave = || {
        let version = "2.0.0".parse().unwrap();
        Leave { artifact: candidate(true).artifact, version, reason: String::new() }
    };
    let path = alone(Model::new(true));
    let swaps = path.iter().filter(|place| place.ledger.state.swap().is_some());
    let mut seen = 0;
    for place in swaps {
        assert_eq!(does(place, |facts, _| facts.leave = Some(leave())), Effect::Condemn);
        seen += 1;
    }
    assert!(seen > 5, "{seen} places");
    // The release that runs is left only after the next one was let go.
    let place = held(Model::new(true));
    let effect = does(&place, |facts, _| {
        facts.leave = Some(Leave { artifact: facts.current.artifact, ..leave() });
    });
    assert_eq!(effect, Effect::Withdraw);
}
