//! A product's role: what is refused in it, and what that leaves alone.

use countersign_metadata::layout;
use countersign_metadata::release::BadRelease;
use countersign_metadata::trust::TrustError;
use serde_json::json;

use crate::key::TestKey;
use crate::refresh;
use crate::simulator::{PAST, Simulator, entry, now, product, release};

#[test]
fn paths_that_escape_their_delegation_are_refused_one_by_one() {
    let mut simulator = Simulator::new();
    let honest = release("demo", "1.0.0", b"an artifact");
    let bad = [
        "../etc/passwd",
        "/etc/passwd",
        "demo/../../x",
        "demo/1.0.0/deeper/demo-1.0.0-linux-x86_64.tar.zst",
        "demo/x",
        "other/2.0.0/other-2.0.0-linux-x86_64.tar.zst",
    ];
    for path in bad {
        simulator.demo().signed["targets"][path] = entry(&honest);
    }
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let releases = trust.releases(&product("demo"), now(), &mut simulator).unwrap();
    assert_eq!(releases.verified.len(), 1);
    assert_eq!(releases.refused.len(), bad.len());
    let star = releases.refused.iter().find(|(path, _)| path.contains("deeper")).unwrap();
    assert!(matches!(star.1, BadRelease::NotDelegated { .. }), "* never matches /");
}

#[test]
fn a_relabelled_artifact_and_an_unknown_format_are_refused_and_spoil_nothing() {
    let mut simulator = Simulator::new();
    let old = release("demo", "1.0.0", b"an artifact");
    let new = release("demo", "9.9.9", b"");
    let mut future = release("demo", "3.0.0", b"");
    future.format = 2;
    let targets = &mut simulator.demo().signed["targets"];
    targets[new.target_path()] = entry(&old);
    targets[future.target_path()] = entry(&future);
    targets["demo/4.0.0/plain"] = json!({ "length": 1, "hashes": { "sha256": "0".repeat(64) } });
    targets["demo/5.0.0/md5"] = json!({ "length": 1, "hashes": { "md5": "00" } });
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let releases = trust.releases(&product("demo"), now(), &mut simulator).unwrap();
    assert_eq!(releases.verified.len(), 1);
    let reason = |path: &str| &releases.refused.iter().find(|(p, _)| p == path).unwrap().1;
    assert!(matches!(reason(&new.target_path()), BadRelease::Relabelled { .. }));
    assert!(matches!(reason(&future.target_path()), BadRelease::Newer(2)));
    assert!(matches!(reason("demo/4.0.0/plain"), BadRelease::NoRelease { .. }));
    assert!(matches!(reason("demo/5.0.0/md5"), BadRelease::NoRelease { .. }));
}

#[test]
fn a_broken_missing_or_expired_product_ends_only_its_own_branch() {
    type Break = fn(&mut Simulator);
    let breaks: [(&str, Break); 4] = [
        ("missing", |s| {
            s.files.remove(&layout::metadata("demo", 1));
        }),
        ("garbage", |s| s.put("demo", 1, b"{".to_vec())),
        ("expired", |s| {
            s.demo().signed["expires"] = PAST.into();
            s.publish();
        }),
        ("unsigned", |s| {
            s.demo().sign_with([TestKey::new(1)]);
            s.publish();
        }),
    ];
    for (name, break_it) in breaks {
        let mut simulator = Simulator::new();
        break_it(&mut simulator);
        let mut trust = refresh(&mut simulator).unwrap();
        let error = trust.releases(&product("demo"), now(), &mut simulator).unwrap_err();
        assert!(error.to_string().contains("demo"), "{name}: {error}");
        let other = trust.releases(&product("other"), now(), &mut simulator).unwrap();
        assert_eq!(other.verified.len(), 1, "{name}");
    }
}

#[test]
fn a_product_that_delegates_further_is_refused_by_name() {
    let mut simulator = Simulator::new();
    simulator.demo().signed["delegations"] = json!({
        "keys": {},
        "roles": [{ "name": "bin", "keyids": [], "threshold": 1, "path_hash_prefixes": ["0"] }],
    });
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let error = trust.releases(&product("demo"), now(), &mut simulator).unwrap_err();
    assert!(matches!(error, TrustError::DelegatesFurther { .. }));
}

#[test]
fn a_rollout_that_cannot_be_read_keeps_its_release_away_and_no_other() {
    let mut simulator = Simulator::new();
    let (known, newer) = (release("demo", "2.0.0", b"two"), release("demo", "3.0.0", b"three"));
    let signed = &mut simulator.demo().signed;
    signed["targets"][known.target_path()] = entry(&known);
    signed["targets"][newer.target_path()] = entry(&newer);
    signed["x-countersign-rollout"] =
        json!({ "2.0.0": { "window-seconds": 60 }, "3.0.0": { "percent": 5 }, "later": 7 });
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let releases = trust.releases(&product("demo"), now(), &mut simulator).unwrap();
    let said: Vec<_> = releases.verified.iter().map(|t| t.rollout().window_seconds).collect();
    assert_eq!(said, [None, Some(60)]);
    let [(path, reason)] = releases.refused.as_slice() else { panic!("{:?}", releases.refused) };
    assert!(*path == newer.target_path() && matches!(reason, BadRelease::Rollout { .. }));

    simulator.demo().signed["x-countersign-rollout"] = json!(["2.0.0"]);
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let refused = trust.releases(&product("demo"), now(), &mut simulator);
    assert!(refused.is_err(), "what cannot be read at all is not passed over");
}
