//! Older versions than those that were trusted.

use countersign_metadata::layout;
use countersign_metadata::trust::TrustError;

use crate::simulator::{Simulator, now};
use crate::{refresh, rolled_back};

#[test]
fn rollback_of_timestamp() {
    let mut simulator = Simulator::new();
    let old = simulator.files[layout::TIMESTAMP].clone();
    simulator.bump();
    let mut trust = simulator.client();
    simulator.files.insert(layout::TIMESTAMP.to_owned(), old);
    rolled_back(trust.refresh(now(), &mut simulator).unwrap_err(), "timestamp");
}

#[test]
fn rollback_of_snapshot_by_a_newer_timestamp() {
    let mut simulator = Simulator::new();
    simulator.bump();
    let mut trust = simulator.client();
    simulator.timestamp.set_version(3);
    simulator.snapshot.set_version(1);
    simulator.publish();
    rolled_back(trust.refresh(now(), &mut simulator).unwrap_err(), "snapshot");
}

#[test]
fn rollback_of_targets_and_of_a_product_by_a_newer_snapshot() {
    for role in ["targets", "demo"] {
        let mut simulator = Simulator::new();
        simulator.targets.set_version(5);
        simulator.demo().set_version(5);
        simulator.publish();
        let mut trust = simulator.client();
        match role {
            "targets" => simulator.targets.set_version(4),
            _ => simulator.demo().set_version(4),
        }
        simulator.bump();
        rolled_back(trust.refresh(now(), &mut simulator).unwrap_err(), role);
    }
}

#[test]
fn a_snapshot_that_drops_a_role() {
    let mut simulator = Simulator::new();
    let mut trust = simulator.client();
    simulator.products.remove("other");
    simulator.bump();
    let error = trust.refresh(now(), &mut simulator).unwrap_err();
    assert!(matches!(error, TrustError::Removed { role } if role == "other"));
}

#[test]
fn rollback_of_root_and_a_gap_in_its_versions() {
    for version in [1, 3] {
        let mut simulator = Simulator::new();
        simulator.root.set_version(version);
        let bytes = simulator.root.bytes();
        simulator.put("root", 2, bytes);
        let error = refresh(&mut simulator).unwrap_err();
        assert!(matches!(error, TrustError::OtherVersion { wanted: 2, .. }), "{error:?}");
    }
}
