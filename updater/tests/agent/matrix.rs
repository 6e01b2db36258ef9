//! Every way in which a swap goes wrong, with an agent that lives and one that is killed on the way back, while a client
//! keeps writing: what was acknowledged is there, except in the one case that is announced, where it is kept aside.

use std::collections::BTreeSet;

use countersign_updater::machine::state::Undo;
use countersign_updater::machine::{Effect, State};

use crate::clients::{self, Clients, until};
use crate::node::Node;

/// A way to fail: the new version's flags, and whether its roll-back may lose sight of writes.
struct Fault {
    flags: &'static str,
    announced: bool,
}

fn rolled_back(fault: &Fault, kill: Option<usize>) -> Undo {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    clients::put(node.address, "before").unwrap();
    let writer = Clients::start(node.address, 1);
    writer.wait_for(20);
    node.publish("2.0.0", 2, fault.flags);
    if let Some(at) = kill {
        assert!(node.run_and_die(at), "{}: it ended before {at}", fault.flags);
    }
    let state = node.run();
    let State::RolledBack { undo, .. } = state else {
        panic!("{}, killed at {kill:?}: {state:?}", fault.flags)
    };
    assert_eq!(node.current().version.to_string(), "1.0.0");
    until(|| clients::put(node.address, "after").is_ok());
    let acknowledged = writer.stop().0;
    let live: BTreeSet<_> = node.words().into_iter().collect();
    assert!(live.contains("before") && live.contains("after"));
    let missing: Vec<_> = acknowledged.iter().filter(|word| !live.contains(*word)).collect();
    match undo.kept_aside {
        None => assert!(missing.is_empty(), "{}, killed at {kill:?}: {missing:?}", fault.flags),
        Some(data) => {
            assert!(fault.announced, "{}: {undo:?}", fault.flags);
            let aside: BTreeSet<_> = node.words_of(data).into_iter().collect();
            assert!(missing.iter().all(|word| aside.contains(*word)), "a write is nowhere");
        }
    }
    supervisor.terminate();
    undo
}

/// One fault: an agent that lives, then agents that are killed when it is condemned and in the middle of the way back.
fn tried(flags: &'static str, announced: bool) {
    let fault = Fault { flags, announced };
    let undo = rolled_back(&fault, None);
    assert_eq!(undo.kept_aside.is_some(), announced, "{undo:?}");
    let mut once = Node::new();
    let mut supervisor = once.supervise();
    clients::put(once.address, "before").unwrap();
    once.publish("2.0.0", 2, flags);
    // Some fail only when somebody writes.
    let writer = Clients::start(once.address, 1);
    once.run();
    writer.stop();
    supervisor.terminate();
    let records = once.records();
    let back =
        records.iter().position(|r| r.effect == Effect::SwitchBack || r.effect == Effect::Restore);
    let undone = records.iter().position(|r| r.effect == Effect::MigrateBack);
    for at in [undone, back].into_iter().flatten() {
        rolled_back(&fault, Some(at));
    }
}

pub(crate) fn broken_binary() {
    tried("dies-live", false);
}

pub(crate) fn bad_migration() {
    tried("forward-fails-live", false);
}

pub(crate) fn bad_way_back() {
    tried("back-fails sick-live", true);
}

pub(crate) fn bad_health() {
    tried("sick-live", false);
}

pub(crate) fn late_bad_health() {
    tried("late-live", false);
}

pub(crate) fn crash() {
    tried("crash-on-write", false);
}
