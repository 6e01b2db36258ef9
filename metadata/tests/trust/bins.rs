//! Hash bins: what a bin, an index, or a loop of delegations can try.

use countersign_metadata::trust::{Bins, INDEX, TrustError, index_of};
use countersign_metadata::{Platform, layout};
use serde_json::{Value, json};

use crate::key::TestKey;
use crate::simulator::{Role, Simulator, entry, holders, ids, keys_of, now, product, release};
use crate::{expired, refresh, rolled_back};

const RELEASES: [&str; 3] = ["1.0.0", "1.1.0", "2.0.0"];

fn bins() -> Bins {
    16.try_into().unwrap()
}

fn bin_of(version: &str) -> String {
    bins().of(&product("demo"), &release("demo", version, b"").target_path())
}

fn linux() -> Platform {
    "linux-x86_64".parse().unwrap()
}

fn role(simulator: &Simulator, more: Value) -> Role {
    let mut signed = simulator.products["other"].signed.clone();
    signed["targets"] = json!({});
    signed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let signers = [1, 2].map(TestKey::new).map(|k| (k.public.id().to_string(), k));
    Role { signed, signers: signers.into() }
}

fn delegations() -> Value {
    let demo = product("demo");
    let mut roles = vec![json!({
        "name": index_of(&demo), "keyids": ids(&holders()), "threshold": 2, "paths": [], "terminating": true,
    })];
    roles.extend((0..16).map(|n| {
        json!({
            "name": bins().name(&demo, n), "keyids": ids(&holders()), "threshold": 2,
            "path_hash_prefixes": bins().prefixes(n), "terminating": true,
        })
    }));
    json!({ "keys": keys_of(&holders()), "roles": roles })
}

/// The product `demo` in 16 bins, written by hand.
fn simulator() -> Simulator {
    let mut simulator = Simulator::new();
    let above = role(&simulator, json!({ "delegations": delegations() }));
    simulator.products.insert("demo".to_owned(), above);
    for version in RELEASES {
        let release = release("demo", version, b"an artifact");
        let name = bin_of(version);
        if !simulator.products.contains_key(&name) {
            let empty = role(&simulator, json!({}));
            simulator.products.insert(name.clone(), empty);
        }
        let bin = simulator.products.get_mut(&name).unwrap();
        bin.signed["targets"][release.target_path()] = entry(&release);
    }
    let listed: Vec<_> = RELEASES.iter().map(|v| json!({ "version": v })).collect();
    let index = role(&simulator, json!({ INDEX: { "linux-x86_64": listed } }));
    simulator.products.insert("demo.index".to_owned(), index);
    simulator.publish();
    simulator
}

fn releases(simulator: &mut Simulator) -> Result<usize, TrustError> {
    let mut trust = refresh(simulator).unwrap();
    Ok(trust.releases(&product("demo"), now(), simulator)?.verified.len())
}

fn newest(simulator: &mut Simulator) -> Result<Option<String>, TrustError> {
    let mut trust = refresh(simulator).unwrap();
    let found = trust.newest(&product("demo"), &linux(), now(), simulator)?;
    Ok(found.map(|t| t.release().version.to_string()))
}

#[test]
fn bins_written_by_hand_are_read() {
    let mut simulator = simulator();
    assert_eq!(releases(&mut simulator).unwrap(), 3);
    assert_eq!(newest(&mut simulator).unwrap().unwrap(), "2.0.0");
}

#[test]
fn delegation_loops_and_further_delegations() {
    let renamed = |name: &str| {
        let mut delegations = delegations();
        delegations["roles"][3]["name"] = name.into();
        delegations
    };
    for name in ["demo", "targets", "root", "other", "demo.index", "demo.1", "demo.ff", "demo.1.1"]
    {
        let mut simulator = simulator();
        simulator.demo().signed["delegations"] = renamed(name);
        simulator.publish();
        let error = releases(&mut simulator).unwrap_err();
        assert!(matches!(error, TrustError::DelegatesFurther { .. }), "{name}: {error:?}");
        let mut trust = refresh(&mut simulator).unwrap();
        trust.releases(&product("other"), now(), &mut simulator).unwrap();
    }
    // A bin that delegates to itself, to its product, or to a role of its own.
    for name in [bin_of("2.0.0"), "demo".to_owned(), "demo.index".to_owned(), "deeper".to_owned()] {
        let mut simulator = simulator();
        let mut loop_ = delegations();
        loop_["roles"] = json!([loop_["roles"][1]]);
        loop_["roles"][0]["name"] = name.into();
        simulator.products.get_mut(&bin_of("2.0.0")).unwrap().signed["delegations"] = loop_;
        simulator.publish();
        let error = newest(&mut simulator).unwrap_err();
        assert!(matches!(error, TrustError::DelegatesFurther { .. }), "{error:?}");
    }
}

#[test]
fn a_release_in_a_bin_that_is_not_its_own() {
    let mut simulator = simulator();
    let stray = release("demo", "9.0.0", b"an artifact");
    let wrong = (0..16).map(|n| bins().name(&product("demo"), n));
    let wrong = wrong.into_iter().find(|n| *n != bin_of("9.0.0")).unwrap();
    let mut bin = role(&simulator, json!({}));
    bin.signed["targets"][stray.target_path()] = entry(&stray);
    simulator.products.entry(wrong.clone()).or_insert(bin).signed["targets"][stray.target_path()] =
        entry(&stray);
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let version = "9.0.0".parse().unwrap();
    let found = trust.release(&product("demo"), &version, &linux(), now(), &mut simulator);
    assert!(found.unwrap().is_none(), "looked for in the bin of its hash alone");
}

#[test]
fn a_bin_may_hold_only_paths_of_its_product() {
    let mut simulator = simulator();
    let foreign = release("other", "3.0.0", b"an artifact");
    let bin = simulator.products.get_mut(&bin_of("2.0.0")).unwrap();
    bin.signed["targets"][foreign.target_path()] = entry(&foreign);
    let listed = json!([{ "version": "2.0.0" }]);
    simulator.products.get_mut("demo.index").unwrap().signed[INDEX]["linux-x86_64"] = listed;
    simulator.publish();
    let mut trust = refresh(&mut simulator).unwrap();
    let found = trust.releases(&product("demo"), now(), &mut simulator).unwrap();
    assert_eq!((found.verified.len(), found.refused.len()), (1, 0), "not even asked for");
}

#[test]
fn too_few_signatures_rollback_and_expiry_of_a_bin_and_an_index() {
    for name in ["demo.index".to_owned(), bin_of("2.0.0")] {
        let mut simulator = simulator();
        simulator.products.get_mut(&name).unwrap().sign_with([TestKey::new(1)]);
        simulator.publish();
        let error = newest(&mut simulator).unwrap_err();
        assert!(matches!(error, TrustError::NotEnoughSignatures { .. }), "{name}: {error:?}");

        let mut simulator = self::simulator();
        simulator.products.get_mut(&name).unwrap().signed["expires"] =
            crate::simulator::PAST.into();
        simulator.publish();
        expired(newest(&mut simulator).unwrap_err(), &name);

        let mut simulator = self::simulator();
        simulator.products.get_mut(&name).unwrap().set_version(5);
        simulator.publish();
        let mut trust = refresh(&mut simulator).unwrap();
        simulator.products.get_mut(&name).unwrap().set_version(4);
        simulator.bump();
        rolled_back(trust.refresh(now(), &mut simulator).unwrap_err(), &name);
    }
}

#[test]
fn an_index_or_bin_that_is_missing_or_lies() {
    // The snapshot lists it, the mirror has it not.
    let mut missing = simulator();
    missing.files.remove(&layout::metadata(&bin_of("2.0.0"), 1));
    assert!(matches!(newest(&mut missing).unwrap_err(), TrustError::Missing { .. }));
    // An index that lists what its bin has not.
    let mut lying = simulator();
    lying.products.get_mut("demo.index").unwrap().signed[INDEX]["linux-x86_64"] =
        json!([{ "version": "8.0.0" }]);
    lying.publish();
    assert!(matches!(releases(&mut lying).unwrap_err(), TrustError::Malformed { .. }));
    assert!(newest(&mut lying).unwrap().is_none());
    // Nonsense in the index, and in what is revoked.
    for (field, nonsense) in [(INDEX, json!([1])), ("x-countersign-revoked", json!(["soon"]))] {
        let mut simulator = simulator();
        simulator.products.get_mut("demo.index").unwrap().signed[field] = nonsense;
        simulator.publish();
        assert!(matches!(newest(&mut simulator).unwrap_err(), TrustError::Malformed { .. }));
    }
    // Bins and releases of its own would be two truths.
    let mut both = simulator();
    let own = release("demo", "1.0.0", b"an artifact");
    both.demo().signed["targets"][own.target_path()] = entry(&own);
    both.publish();
    assert!(matches!(releases(&mut both).unwrap_err(), TrustError::Malformed { .. }));
}

#[test]
fn a_revocation_that_cannot_be_read_is_not_passed_over() {
    let mut simulator = Simulator::new();
    simulator.demo().signed["x-countersign-revoked"] = json!("1.0.0");
    simulator.publish();
    assert!(matches!(releases(&mut simulator).unwrap_err(), TrustError::Malformed { .. }));
    simulator.demo().signed["x-countersign-revoked"] = json!(["1.0.0"]);
    simulator.publish();
    assert!(newest(&mut simulator).unwrap().is_none(), "the only one is revoked");
}
