//! What survives restarts, rotations and interruptions.

use countersign_metadata::layout;
use countersign_metadata::trust::{Trust, TrustError};

use crate::key::TestKey;
use crate::rolled_back;
use crate::simulator::{Simulator, ids, now, product};

/// Replaces the key of a top-level role by a new one, in the next root.
pub(crate) fn rotate(simulator: &mut Simulator, role: &str, seed: u8) {
    let key = TestKey::new(seed);
    let root = &mut simulator.root;
    root.set_version(root.version() + 1);
    root.signed["keys"][key.public.id().to_string()] = key.public.to_tuf();
    root.signed["roles"][role]["keyids"] = ids([&key]);
    simulator.publish_root();
    match role {
        "timestamp" => simulator.timestamp.sign_with([key]),
        _ => simulator.snapshot.sign_with([key]),
    }
}

#[test]
fn floors_survive_a_restart_from_the_shipped_root_and_the_expiry_of_what_proves_them() {
    let mut simulator = Simulator::new();
    let shipped = simulator.root.bytes();
    let old = simulator.files.clone();
    simulator.targets.set_version(3);
    simulator.snapshot.signed["expires"] = "2026-11-21T00:00:00Z".into();
    simulator.timestamp.signed["expires"] = "2026-11-21T00:00:00Z".into();
    simulator.bump();
    let kept = simulator.client().kept();
    simulator.files = old;
    let later = "2026-12-01T00:00:00Z".parse().unwrap();
    let mut trust = Trust::restore(&shipped, &kept, later).unwrap();
    rolled_back(trust.refresh(later, &mut simulator).unwrap_err(), "timestamp");
}

#[test]
fn floors_survive_a_rotation_of_the_timestamp_key() {
    let mut simulator = Simulator::new();
    let shipped = simulator.root.bytes();
    simulator.targets.set_version(5);
    simulator.bump();
    let kept = simulator.client().kept();
    // The new timestamp begins anew, as recovery allows; what it leads to may not fall.
    rotate(&mut simulator, "timestamp", 20);
    simulator.timestamp.set_version(1);
    simulator.publish_snapshot();
    let mut honest = Trust::restore(&shipped, &kept, now()).unwrap();
    honest.refresh(now(), &mut simulator).unwrap();

    simulator.targets.set_version(4);
    simulator.timestamp.set_version(2);
    simulator.snapshot.set_version(3);
    simulator.publish();
    for mut trust in [honest, Trust::restore(&shipped, &kept, now()).unwrap()] {
        rolled_back(trust.refresh(now(), &mut simulator).unwrap_err(), "targets");
    }
}

#[test]
fn fast_forward_is_recovered_from_by_rotating_the_snapshot_key() {
    let mut simulator = Simulator::new();
    let shipped = simulator.root.bytes();
    simulator.targets.set_version(99_999);
    simulator.bump();
    let kept = simulator.client().kept();
    rotate(&mut simulator, "snapshot", 21);
    simulator.targets.set_version(2);
    simulator.bump();
    let mut trust = Trust::restore(&shipped, &kept, now()).unwrap();
    trust.refresh(now(), &mut simulator).unwrap();
    assert_eq!(trust.targets().unwrap().version(), 2);
}

#[test]
fn a_refresh_that_breaks_off_half_way_is_a_floor_and_no_authority() {
    let mut simulator = Simulator::new();
    let shipped = simulator.root.bytes();
    let first = simulator.files.clone();
    let mut trust = simulator.client();
    simulator.targets.set_version(2);
    simulator.bump();
    let second = simulator.files.clone();
    simulator.files.remove(&layout::metadata("snapshot", 2));
    assert!(matches!(trust.refresh(now(), &mut simulator), Err(TrustError::Missing { .. })));
    let none = trust.releases(&product("demo"), now(), &mut simulator).unwrap_err();
    assert!(matches!(none, TrustError::NotRefreshed));

    let mut trust = Trust::restore(&shipped, &trust.kept(), now()).unwrap();
    simulator.files = first;
    rolled_back(trust.refresh(now(), &mut simulator).unwrap_err(), "timestamp");
    simulator.files = second;
    trust.refresh(now(), &mut simulator).unwrap();
    assert_eq!(trust.releases(&product("demo"), now(), &mut simulator).unwrap().verified.len(), 1);
}

#[test]
fn the_kept_root_is_continued_from_and_the_shipped_one_used_only_if_newer() {
    let mut simulator = Simulator::new();
    let first = simulator.root.bytes();
    rotate(&mut simulator, "timestamp", 22);
    simulator.publish_snapshot();
    let second = simulator.root.bytes();
    let kept = simulator.client().kept();
    assert_eq!(Trust::restore(&first, &kept, now()).unwrap().root().version(), 2);
    let old = [("root.json".to_owned(), first.clone())].into();
    let trust = Trust::restore(&second, &old, now()).unwrap();
    assert_eq!(trust.root().version(), 2);
    assert_eq!(trust.kept()["root.json"], second);
    let broken = [("root.json".to_owned(), b"half a fi".to_vec())].into();
    assert!(matches!(Trust::restore(&first, &broken, now()), Err(TrustError::Malformed { .. })));
}

#[test]
fn kept_files_below_the_root_that_were_damaged_are_downloaded_again() {
    let mut simulator = Simulator::new();
    let kept = simulator.client().kept();
    for name in ["timestamp.json", "snapshot.json", "targets.json", "demo.json"] {
        let mut damaged = kept.clone();
        damaged.get_mut(name).unwrap().truncate(100);
        let mut trust = Trust::restore(&kept["root.json"], &damaged, now()).unwrap();
        trust.refresh(now(), &mut simulator).unwrap();
        trust.releases(&product("demo"), now(), &mut simulator).unwrap();
        assert_eq!(trust.kept(), kept, "{name}");
    }
}

#[test]
fn a_clock_set_back_brings_nothing_old_back() {
    let mut simulator = Simulator::new();
    let old = simulator.files[layout::TIMESTAMP].clone();
    simulator.bump();
    let mut trust = simulator.client();
    simulator.files.insert(layout::TIMESTAMP.to_owned(), old);
    let root = simulator.files[&layout::metadata("root", 1)].clone();
    let long_ago = "2026-01-01T00:00:00Z".parse().unwrap();
    rolled_back(trust.refresh(long_ago, &mut simulator).unwrap_err(), "timestamp");
    let mut restored = Trust::restore(&root, &trust.kept(), long_ago).unwrap();
    rolled_back(restored.refresh(long_ago, &mut simulator).unwrap_err(), "timestamp");
}
