//! The chain of roots.

use countersign_metadata::trust::{Trust, TrustError};

use crate::key::TestKey;
use crate::simulator::{LATER, PAST, Simulator, holders, ids, keys_of};
use crate::{expired, floors::rotate, refresh};

#[test]
fn a_repository_without_consistent_snapshots_is_refused_by_name() {
    let mut simulator = Simulator::new();
    simulator.root.signed["consistent_snapshot"] = false.into();
    simulator.publish_root();
    assert!(matches!(refresh(&mut simulator), Err(TrustError::NotConsistent { version: 1 })));
}

#[test]
fn a_new_root_needs_the_old_and_the_new_threshold() {
    let replaced = || [4, 5, 6].map(TestKey::new);
    for (signers, good) in
        [(vec![4, 5], false), (vec![1, 2], false), (vec![1, 4, 5], false), (vec![1, 2, 4, 5], true)]
    {
        let mut simulator = Simulator::new();
        simulator.root.set_version(2);
        let online = TestKey::new(9);
        let keys = keys_of(holders().iter().chain(&replaced()).chain([&online]));
        simulator.root.signed["keys"] = keys;
        simulator.root.signed["roles"]["root"]["keyids"] = ids(&replaced());
        simulator.root.sign_with(signers.iter().copied().map(TestKey::new));
        simulator.publish_root();
        let result = refresh(&mut simulator);
        assert_eq!(result.is_ok(), good, "{signers:?}: {result:?}");
    }
}

#[test]
fn only_the_last_root_of_the_chain_must_be_fresh() {
    let mut simulator = Simulator::new();
    simulator.root.set_version(2);
    simulator.root.signed["expires"] = PAST.into();
    simulator.publish_root();
    expired(refresh(&mut simulator).unwrap_err(), "root");
    simulator.root.set_version(3);
    simulator.root.signed["expires"] = LATER.into();
    simulator.publish_root();
    assert_eq!(refresh(&mut simulator).unwrap().root().version(), 3);
}

#[test]
fn a_chain_of_roots_is_followed_offline() {
    let mut simulator = Simulator::new();
    let first = simulator.root.bytes();
    rotate(&mut simulator, "timestamp", 23);
    let second = simulator.root.bytes();
    rotate(&mut simulator, "snapshot", 24);
    let third = simulator.root.bytes();
    let mut trust = Trust::from_root(&first).unwrap();
    trust.follow([first.as_slice(), &second, &third]).unwrap();
    assert_eq!(trust.root().version(), 3);
    let mut gap = Trust::from_root(&first).unwrap();
    assert!(gap.follow([third.as_slice()]).is_err());
}
