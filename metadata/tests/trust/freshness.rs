//! Expired roles, and files that do not belong together.

use countersign_metadata::layout;
use countersign_metadata::trust::{Trust, TrustError};

use crate::simulator::{LATER, NOW, PAST, Simulator, now, pin, product};
use crate::{expired, refresh};

#[test]
fn freeze_expired_top_level_roles_are_named() {
    for role in ["root", "targets", "snapshot", "timestamp"] {
        let mut simulator = Simulator::new();
        let expiring = match role {
            "root" => &mut simulator.root,
            "targets" => &mut simulator.targets,
            "snapshot" => &mut simulator.snapshot,
            _ => &mut simulator.timestamp,
        };
        expiring.signed["expires"] = PAST.into();
        simulator.publish_root();
        simulator.publish();
        expired(refresh(&mut simulator).unwrap_err(), role);
    }
}

#[test]
fn freeze_expiry_is_the_moment_itself() {
    let mut simulator = Simulator::new();
    simulator.timestamp.signed["expires"] = NOW.into();
    simulator.publish();
    expired(refresh(&mut simulator).unwrap_err(), "timestamp");
}

#[test]
fn what_expires_this_moment_is_refused_and_neither_kept_nor_remembered() {
    for role in ["timestamp", "snapshot", "targets", "demo"] {
        let mut simulator = Simulator::new();
        let mut trust = simulator.client();
        let before = trust.kept();
        let expiring = match role {
            "timestamp" => &mut simulator.timestamp,
            "snapshot" => &mut simulator.snapshot,
            "targets" => &mut simulator.targets,
            _ => simulator.demo(),
        };
        expiring.signed["expires"] = NOW.into();
        if matches!(role, "targets" | "demo") {
            expiring.set_version(2);
        }
        simulator.bump();
        let error = trust
            .refresh(now(), &mut simulator)
            .and_then(|()| trust.releases(&product("demo"), now(), &mut simulator).map(drop));
        expired(error.unwrap_err(), role);
        let file = format!("{role}.json");
        assert_eq!(trust.kept()[&file], before[&file], "{role}");
        let known = trust.roles().into_iter().find(|state| state.role == role);
        assert_eq!(known.map_or(1, |state| state.version), 1, "{role} in memory");

        // The same version, good for longer, is taken: the refused one has not used it up.
        let mut better = Simulator::new();
        if role == "timestamp" {
            better.bump();
            trust.refresh(now(), &mut better).unwrap();
        }
    }
}

#[test]
fn expired_everything_authorises_nothing_and_the_renewed_repository_is_followed() {
    let mut simulator = Simulator::new();
    let mut trust = simulator.client();
    let (late, later) = ("2028-01-01T00:00:00Z".parse().unwrap(), "2029-01-01T00:00:00Z");
    let root = simulator.files[&layout::metadata("root", 1)].clone();
    for mut trust in [trust.clone(), Trust::restore(&root, &trust.kept(), late).unwrap()] {
        expired(trust.refresh(late, &mut simulator).unwrap_err(), "root");
        expired(trust.releases(&product("demo"), late, &mut simulator).unwrap_err(), "root");
    }
    simulator.root.set_version(2);
    simulator.targets.set_version(2);
    simulator.demo().set_version(2);
    for role in [&mut simulator.root, &mut simulator.targets, &mut simulator.snapshot] {
        role.signed["expires"] = later.into();
    }
    simulator.timestamp.signed["expires"] = later.into();
    simulator.demo().signed["expires"] = later.into();
    simulator.publish_root();
    simulator.bump();
    trust.refresh(late, &mut simulator).unwrap();
    assert_eq!(trust.releases(&product("demo"), late, &mut simulator).unwrap().verified.len(), 1);
    // What was not renewed stays as dead as it was.
    expired(trust.releases(&product("other"), late, &mut simulator).unwrap_err(), "other");
}

#[test]
fn freeze_the_same_timestamp_served_for_ever() {
    let mut simulator = Simulator::new();
    let mut trust = simulator.client();
    expired(trust.refresh(LATER.parse().unwrap(), &mut simulator).unwrap_err(), "root");
    simulator.timestamp.signed["expires"] = "2026-11-21T00:00:00Z".into();
    simulator.bump();
    trust.refresh(now(), &mut simulator).unwrap();
    let tomorrow = "2026-11-22T00:00:00Z".parse().unwrap();
    expired(trust.refresh(tomorrow, &mut simulator).unwrap_err(), "timestamp");
    expired(trust.releases(&product("demo"), tomorrow, &mut simulator).unwrap_err(), "timestamp");
}

#[test]
fn mix_and_match_of_versions() {
    for role in ["snapshot", "targets"] {
        let mut simulator = Simulator::new();
        let old = simulator.files[&layout::metadata(role, 1)].clone();
        simulator.targets.set_version(2);
        simulator.bump();
        simulator.put(role, 2, old);
        let error = refresh(&mut simulator).unwrap_err();
        assert!(matches!(&error, TrustError::OtherBytes { role: r, .. } if r == role), "{error:?}");
        assert!(error.retry(), "a publisher may be at work");
    }
}

#[test]
fn wrong_snapshot_hash() {
    let mut simulator = Simulator::new();
    simulator.timestamp.signed["meta"]["snapshot.json"]["hashes"]["sha256"] = "0".repeat(64).into();
    simulator.files.insert(layout::TIMESTAMP.to_owned(), simulator.timestamp.bytes());
    let error = refresh(&mut simulator).unwrap_err();
    assert!(matches!(error, TrustError::OtherBytes { role, .. } if role == "snapshot"));
}

#[test]
fn a_file_whose_version_is_not_the_pinned_one() {
    let mut simulator = Simulator::new();
    let bytes = simulator.targets.bytes();
    simulator.snapshot.signed["meta"]["targets.json"] = pin(7, &bytes);
    simulator.put("targets", 7, bytes);
    simulator.publish_snapshot();
    assert!(refresh(&mut simulator).is_err());
}
