//! Keys counted once, thresholds that mean something.

use countersign_metadata::trust::TrustError;
use serde_json::json;

use crate::key::TestKey;
use crate::refresh;
use crate::simulator::{Simulator, holders, ids, now, product};

/// Gives `key` a second identifier in a map of keys.
fn alias(keys: &mut serde_json::Value, key: &TestKey) -> String {
    let alias = "f".repeat(64);
    keys[&alias] = key.public.to_tuf();
    alias
}

#[test]
fn a_key_repeated_under_two_ids_counts_once() {
    let [alice, bob, _] = holders();
    let mut simulator = Simulator::new();
    let delegations = &mut simulator.targets.signed["delegations"];
    let twin = alias(&mut delegations["keys"], &alice);
    let mut keyids = ids([&alice, &bob]);
    keyids.as_array_mut().unwrap().push(twin.clone().into());
    delegations["roles"][0]["keyids"] = keyids;
    let id = alice.public.id().to_string();
    simulator.demo().signers = vec![(id, TestKey::new(1)), (twin, TestKey::new(1))];
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let error = trust.releases(&product("demo"), now(), &mut simulator).unwrap_err();
    let TrustError::NotEnoughSignatures { role, version: 1, found: 1, needed: 2 } = error else {
        panic!("{error:?}")
    };
    assert_eq!(role, "demo");
}

#[test]
fn a_key_repeated_under_two_ids_counts_once_for_root_and_targets_too() {
    for role in ["root", "targets"] {
        let [alice, ..] = holders();
        let id = alice.public.id().to_string();
        let mut simulator = Simulator::new();
        let twin = alias(&mut simulator.root.signed["keys"], &alice);
        let keyids = &mut simulator.root.signed["roles"][role]["keyids"];
        keyids.as_array_mut().unwrap().push(twin.clone().into());
        let twice = vec![(id, TestKey::new(1)), (twin, TestKey::new(1))];
        match role {
            "root" => simulator.root.signers = twice,
            _ => simulator.targets.signers = twice,
        }
        simulator.publish_root();
        simulator.publish();
        let error = refresh(&mut simulator).unwrap_err();
        assert!(
            matches!(&error, TrustError::NotEnoughSignatures { role: r, found: 1, .. } if r == role),
            "{error:?}"
        );
    }
}

#[test]
fn a_role_whose_ids_stand_for_too_few_keys() {
    let [alice, ..] = holders();
    let mut simulator = Simulator::new();
    let twin = alias(&mut simulator.root.signed["keys"], &alice);
    simulator.root.signed["roles"]["targets"]["keyids"] =
        json!([alice.public.id().to_string(), twin]);
    simulator.publish_root();
    let error = refresh(&mut simulator).unwrap_err();
    assert!(
        matches!(&error, TrustError::TooFewKeys { role, distinct: 1, threshold: 2 } if role == "targets"),
        "{error:?}"
    );
}

#[test]
fn the_same_signature_twice_is_no_second_signature() {
    let mut simulator = Simulator::new();
    simulator.demo().sign_with([1, 1].map(TestKey::new));
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let error = trust.releases(&product("demo"), now(), &mut simulator).unwrap_err();
    assert!(matches!(error, TrustError::NotEnoughSignatures { found: 1, .. }), "{error:?}");
}

#[test]
fn threshold_zero_is_an_error_for_every_role() {
    for role in ["root", "targets", "snapshot", "timestamp"] {
        let mut simulator = Simulator::new();
        simulator.root.signed["roles"][role]["threshold"] = 0.into();
        simulator.publish_root();
        let error = refresh(&mut simulator).unwrap_err();
        assert!(matches!(&error, TrustError::ZeroThreshold { role: r } if r == role), "{error:?}");
    }
    let mut simulator = Simulator::new();
    simulator.targets.signed["delegations"]["roles"][0]["threshold"] = 0.into();
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let error = trust.releases(&product("demo"), now(), &mut simulator).unwrap_err();
    assert!(matches!(error, TrustError::ZeroThreshold { .. }));
    assert_eq!(trust.releases(&product("other"), now(), &mut simulator).unwrap().verified.len(), 1);
}

#[test]
fn too_few_or_foreign_signatures() {
    for keys in [vec![1], vec![1, 7], vec![7, 8], vec![]] {
        let mut simulator = Simulator::new();
        simulator.targets.sign_with(keys.into_iter().map(TestKey::new));
        simulator.publish();
        let error = refresh(&mut simulator).unwrap_err();
        assert!(matches!(error, TrustError::NotEnoughSignatures { needed: 2, .. }), "{error:?}");
    }
}

#[test]
fn an_unknown_key_type_and_unknown_fields_are_no_harm() {
    let mut simulator = Simulator::new();
    simulator.root.signed["keys"]["a".repeat(64)] =
        json!({ "keytype": "lattice", "scheme": "new", "keyval": { "public": "?" }, "x": 1 });
    simulator.root.signed["roles"]["targets"]["keyids"]
        .as_array_mut()
        .unwrap()
        .push("a".repeat(64).into());
    simulator.root.signed["x-new"] = json!({ "deep": [1, 2] });
    simulator.publish_root();
    refresh(&mut simulator).unwrap();
}

#[test]
fn key_id_tricks_make_no_signature_count() {
    let [alice, bob, carol] = holders();
    let id = |key: &TestKey| key.public.id().to_string();
    let key = TestKey::new;
    // Each under the other's identifier; one key under spellings of its own; one that was never delegated to.
    let tricks: [(Vec<(String, TestKey)>, usize); 5] = [
        (vec![(id(&alice), key(2)), (id(&bob), key(1))], 0),
        (vec![(id(&alice), key(1)), (id(&alice).to_uppercase(), key(1))], 1),
        (vec![(id(&alice), key(1)), (format!(" {}", id(&bob)), key(2))], 1),
        (vec![(id(&alice), key(1)), (String::new(), key(2))], 1),
        (vec![(id(&alice), key(1)), (id(&key(7)), key(7))], 1),
    ];
    for (number, (signers, counted)) in tricks.into_iter().enumerate() {
        let mut simulator = Simulator::new();
        simulator.demo().signers = signers;
        simulator.publish();
        let mut trust = refresh(&mut simulator).unwrap();
        let error = trust.releases(&product("demo"), now(), &mut simulator).unwrap_err();
        let TrustError::NotEnoughSignatures { found, needed: 2, .. } = error else {
            panic!("{number}: {error:?}")
        };
        assert_eq!(found, counted, "{number}");
    }
    // Carol's identifier is given to Alice's key: nobody is two.
    let mut simulator = Simulator::new();
    simulator.targets.signed["delegations"]["keys"][id(&carol)] = alice.public.to_tuf();
    simulator.demo().signers = vec![(id(&alice), key(1)), (id(&carol), key(1))];
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let error = trust.releases(&product("demo"), now(), &mut simulator).unwrap_err();
    assert!(matches!(error, TrustError::NotEnoughSignatures { found: 1, .. }), "{error:?}");
}
