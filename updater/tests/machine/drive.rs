//! The real loop and the real journal on a simulated node, cut off before and after every effect, and again
//! inside the recovery.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

use crate::model::{Model, order, rules};
use countersign_updater::machine::{
    Effect, Journal, Ledger, Silent, State, Until, Wanted, Witness, drive,
};

/// Dies at the `at`-th moment of the run: two moments an effect.
struct Dies {
    at: usize,
    passed: usize,
    seen: Vec<Effect>,
}

struct Cut;

impl Dies {
    fn moment(&mut self, effect: Effect) {
        self.seen.push(effect);
        self.passed += 1;
        if self.passed > self.at {
            resume_unwind(Box::new(Cut));
        }
    }
}

impl Witness for Dies {
    fn before(&mut self, effect: Effect) {
        self.moment(effect);
    }

    fn after(&mut self, effect: Effect) {
        self.moment(effect);
    }
}

/// One life of the agent. `None`: it died.
fn live(journal: &Path, world: &mut Model, witness: &mut dyn Witness) -> Option<State> {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let (mut journal, records) = Journal::open(journal).unwrap();
        let ledger = Ledger::of(&records);
        let until = (Until::Idle, Duration::from_secs(1));
        drive(&mut journal, ledger, world, witness, &rules(), until).ok().unwrap().state
    }));
    match lived {
        Ok(state) => Some(state),
        Err(cause) if cause.is::<Cut>() => None,
        Err(cause) => resume_unwind(cause),
    }
}

/// Lives with deaths after so many moments, then once to the end. Returns the effects that were met.
fn lives(mut world: Model, deaths: &[usize]) -> (BTreeSet<Effect>, usize, State) {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal.jsonl");
    let mut met = BTreeSet::new();
    for at in deaths {
        let mut witness = Dies { at: *at, passed: 0, seen: Vec::new() };
        let ended = live(&journal, &mut world, &mut witness);
        met.extend(witness.seen);
        if ended.is_some() {
            break;
        }
        world.hold_runs_out();
    }
    let mut witness = Dies { at: usize::MAX, passed: 0, seen: Vec::new() };
    let state = live(&journal, &mut world, &mut witness).unwrap();
    let moments = witness.seen.len();
    met.extend(witness.seen);
    world.check_rest(&state);
    assert_eq!(live(&journal, &mut world, &mut Silent), Some(state.clone()), "it rests");
    (met, moments, state)
}

/// The longest ones last.
fn stories() -> Vec<Model> {
    let failing = |effects: &[(Effect, u32, bool)]| {
        let mut world = Model::new(true);
        world.fail = effects.iter().map(|(effect, times, by)| (*effect, (*times, *by))).collect();
        world
    };
    let sick = |migrates| Model { healthy: false, ..Model::new(migrates) };
    let ordered =
        Model { orders: vec![order(1, Wanted::Release { version: None })], ..Model::new(true) };
    vec![
        ordered,
        Model { leaves: true, ..Model::new(true) },
        Model { leaves: true, ..Model::new(false) },
        Model::new(true),
        Model::new(false),
        sick(true),
        sick(false),
        Model::overlapping(),
        Model { healthy: false, ..Model::overlapping() },
        failing(&[(Effect::Migrate, 1, true)]),
        failing(&[(Effect::Lease, 1, false)]),
        failing(&[(Effect::Start, 1, true)]),
        failing(&[(Effect::Migrate, 1, true), (Effect::MigrateBack, 1, true)]),
        Model { leaves: true, ..failing(&[(Effect::MigrateBack, 1, true)]) },
    ]
}

#[test]
fn a_death_before_or_after_any_effect_is_recovered_from() {
    let mut met = BTreeSet::new();
    for world in stories() {
        let (effects, moments, end) = lives(world.clone(), &[]);
        met.extend(effects);
        for at in 0..moments {
            let (_, _, state) = lives(world.clone(), &[at]);
            // Something that fails once may have failed unseen, just before the death.
            if world.fail.is_empty() {
                assert_eq!(state.name(), end.name(), "death at moment {at} of {world:?}");
            }
        }
    }
    // Withdrawing needs an offer that goes away: the walk covers it.
    met.insert(Effect::Withdraw);
    assert_eq!(met, Effect::ALL.iter().copied().collect());
}

#[test]
fn a_second_death_inside_the_recovery_is_recovered_from_too() {
    for world in stories().into_iter().skip(7) {
        let (_, moments, _) = lives(world.clone(), &[]);
        for at in 0..moments {
            for again in 0..3 {
                lives(world.clone(), &[at, again]);
            }
        }
    }
}

#[test]
fn an_agent_told_to_end_brings_the_node_back_up_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = Model { told: true, ..Model::new(true) };
    let journal = dir.path().join("journal.jsonl");
    // Each life makes one step while nothing is stopped, and the whole swap once something is.
    for _ in 0..40 {
        let state = live(&journal, &mut world, &mut Silent).unwrap();
        assert_ne!(world.node, crate::model::Seen::Held, "left stopped in {}", state.name());
        if matches!(state, State::Committed { .. }) {
            return;
        }
    }
    panic!("it never came to its end");
}
