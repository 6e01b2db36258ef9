//! Keyless verdicts: what a node counts, offline and by its own trusted root, and what it refuses.

#[path = "../../../../metadata/tests/sigstore/der.rs"]
mod der;
#[expect(dead_code, reason = "shared with the tests of metadata, which need more of it")]
#[path = "../../../../metadata/tests/sigstore/instance.rs"]
mod instance;

use countersign_metadata::layout;
use countersign_metadata::sigstore::Signer;
use countersign_metadata::statement::{Outcome, Statement, Summary, unsigned_verdict};
use countersign_metadata::trusted_root::TARGET;
use serde_json::Value;

use super::*;
use crate::fixture::mirror::{Mirror as Served, Mischief};
use crate::rebuilder::Rebuilder;
use instance::{Instance, Pair};

fn alice() -> Signer {
    Signer {
        label: "Alice's rebuilder".to_owned(),
        identity: "https://ci.example/alice/rebuild.yml@refs/heads/main".to_owned(),
        issuer: "https://token.ci.example".to_owned(),
    }
}

/// That `name` reproduced `release`.
fn reproduced_by(release: &Release, name: String) -> Statement<Summary> {
    let now = "2026-01-01T12:00:00Z".parse().unwrap();
    let environment = release.environment.clone();
    let mut statement = unsigned_verdict(release, now, environment, Outcome::Reproduced);
    statement.predicate.verifier.id = name;
    statement
}

/// A published release, an instance whose trusted root is a target, and a node that wants two rebuilders: it knows the
/// keyholders, one identity, and one key on P-256.
struct Scene {
    fixture: Fixture,
    release: Release,
    instance: Instance,
    managed: Pair,
    served: Served,
    _dir: tempfile::TempDir,
    home: Home,
    config: Config,
}

impl Scene {
    fn new() -> Self {
        Self::with(|instance| Some(instance.trusted_root()))
    }

    fn with(root: impl FnOnce(&Instance) -> Option<Vec<u8>>) -> Self {
        let (instance, managed) = (Instance::new(), Pair::new());
        let mut fixture = Fixture::new();
        fixture.trusted_root = root(&instance);
        let release = fixture.add("2.0.0", &[("bin/node*", "x")], json!({}));
        fixture.publish(2);
        let served = Served::serve(fixture.dir.path(), Mischief::None);
        let (_dir, home, _) = node(std::slice::from_ref(&served.url), &fixture);
        let Signer { label, identity, issuer } = alice();
        let text = format!(
            "product = \"{PRODUCT}\"\nrepositories = [{:?}]\n[policy]\nreproducers = 2\n\
             rebuilders = [\"{}\"]\n[[policy.identities]]\nlabel = {label:?}\n\
             identity = {identity:?}\nissuer = {issuer:?}",
            served.url,
            managed.public()
        );
        let config = Config::from_text(&text, home.config_file()).unwrap();
        Self { fixture, release, instance, managed, served, _dir, home, config }
    }

    fn keyless(&self, signer: &Signer) -> Value {
        self.instance.keyless(signer, &reproduced_by(&self.release, signer.name()))
    }

    fn attest(&self, bundle: &Value) {
        self.fixture.attest_bundle(&self.release, bundle.to_string().as_bytes());
    }

    /// Who reproduced it, counted, by a refresh; what was kept must say the same.
    fn counted(&self) -> Vec<Rebuilder> {
        let now = Timestamp::now();
        let found = refresh(&self.home, &self.config, now).unwrap();
        let target = &found.releases.verified[0];
        let counted = |reproduced: &_| -> Vec<Rebuilder> {
            crate::policy::counted(&self.config, target, reproduced).into_iter().cloned().collect()
        };
        let kept = kept_reproducers(&self.home, &found.releases, now).unwrap();
        assert_eq!(counted(&found.reproduced), counted(&kept));
        counted(&kept)
    }

    /// Publishes a bundle that must not count, although a good key's verdict beside it does.
    fn refuses(&self, bundle: &Value) {
        self.fixture.attest(&self.release, &self.fixture.keyholders[0], Outcome::Reproduced);
        self.attest(bundle);
        assert_eq!(self.counted(), [self.fixture.keyholders[0].key.into()]);
    }
}

#[test]
fn an_identity_that_the_policy_names_counts_beside_a_key() {
    let scene = Scene::new();
    scene.fixture.attest(&scene.release, &scene.fixture.keyholders[0], Outcome::Reproduced);
    assert_eq!(scene.counted().len(), 1);
    scene.attest(&scene.keyless(&alice()));
    let counted = scene.counted();
    assert_eq!(counted, [scene.fixture.keyholders[0].key.into(), Rebuilder::from(&alice())]);
    // Again by the same identity, with another certificate: still one rebuilder.
    scene.attest(&scene.keyless(&alice()));
    assert_eq!(scene.counted(), counted);
}

#[test]
fn a_managed_key_in_a_log_counts_as_that_key() {
    let scene = Scene::new();
    let by = countersign_metadata::statement::identity(&scene.managed.public());
    let statement = reproduced_by(&scene.release, by);
    scene.attest(&scene.instance.key_signed(&scene.managed, &statement));
    assert_eq!(scene.counted(), [scene.managed.public().into()]);
}

#[test]
fn a_node_asks_its_mirror_and_nobody_else_and_the_trusted_root_once() {
    let scene = Scene::new();
    scene.attest(&scene.keyless(&alice()));
    assert_eq!(scene.counted().len(), 1);
    assert_eq!(scene.counted().len(), 1);
    let asked = scene.served.asked.lock().unwrap().clone();
    let roots = asked.iter().filter(|path| path.contains(TARGET)).count();
    assert_eq!(roots, 1, "{asked:?}");
    // Kept, and not as a role.
    let kept = TrustDir::new(scene.home.trust()).read().unwrap();
    assert!(!kept.keys().any(|name| name.contains("trusted_root")), "{:?}", kept.keys());
}

#[test]
fn a_verdict_of_an_identity_stays_counted_when_the_mirror_hides_it() {
    let scene = Scene::new();
    scene.attest(&scene.keyless(&alice()));
    assert_eq!(scene.counted().len(), 1);
    let index = layout::attestation_index(&scene.release.artifact.sha256);
    fs::remove_file(scene.fixture.dir.path().join(index)).unwrap();
    assert_eq!(scene.counted().len(), 1);
}

#[test]
fn a_wrong_identity_is_refused() {
    let scene = Scene::new();
    let bob = Signer { identity: alice().identity.replace("alice", "bob"), ..alice() };
    scene.refuses(&scene.keyless(&bob));
    let found = refresh(&scene.home, &scene.config, Timestamp::now()).unwrap();
    // Proven, and nobody that counts: so it is not kept either.
    assert!(found.reproduced[&scene.release.artifact.sha256].by.contains(&Rebuilder::from(&bob)));
}

#[test]
fn a_wrong_issuer_is_refused() {
    let scene = Scene::new();
    let elsewhere = Signer { issuer: "https://token.evil.example".to_owned(), ..alice() };
    scene.refuses(&scene.keyless(&elsewhere));
}

#[test]
fn a_statement_in_the_name_of_another_identity_is_refused() {
    let scene = Scene::new();
    let bob = Signer { identity: alice().identity.replace("alice", "bob"), ..alice() };
    let statement = reproduced_by(&scene.release, alice().name());
    scene.refuses(&scene.instance.keyless(&bob, &statement));
}

#[test]
fn an_expired_trusted_root_is_refused() {
    let scene = Scene::with(|i| Some(i.trusted_root_until(Some("2025-12-31T00:00:00Z"))));
    scene.refuses(&scene.keyless(&alice()));
}

#[test]
fn another_instances_trusted_root_is_refused() {
    let scene = Scene::with(|_| Some(Instance::new().trusted_root()));
    scene.refuses(&scene.keyless(&alice()));
}

#[test]
fn a_bundle_about_another_digest_is_refused() {
    let scene = Scene::new();
    let other = crate::fixture::release("2.0.0", b"another tar", json!({}));
    let statement = reproduced_by(&other, alice().name());
    scene.refuses(&scene.instance.keyless(&alice(), &statement));
}

#[test]
fn a_tampered_bundle_is_refused() {
    let scene = Scene::new();
    let good = scene.keyless(&alice());
    let mut payload = good.clone();
    let text = payload["dsseEnvelope"]["payload"].as_str().unwrap().to_owned();
    let (head, tail) = text.split_at(40);
    let changed = if tail.starts_with('A') { 'B' } else { 'A' };
    payload["dsseEnvelope"]["payload"] = format!("{head}{changed}{}", &tail[1..]).into();
    scene.attest(&payload);
    let mut exchanged = good;
    let other = scene.keyless(&alice());
    exchanged["verificationMaterial"]["certificate"] =
        other["verificationMaterial"]["certificate"].clone();
    scene.refuses(&exchanged);
}

#[test]
fn a_bundle_without_a_log_entry_is_refused() {
    let scene = Scene::new();
    let mut bundle = scene.keyless(&alice());
    bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    scene.refuses(&bundle);
}

#[test]
fn a_bundle_without_a_proven_time_is_refused() {
    let scene = Scene::new();
    let mut bundle = scene.keyless(&alice());
    // The proof says that the entry is in the log; only the promise says since when.
    let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
    entry.as_object_mut().unwrap().remove("inclusionPromise");
    scene.refuses(&bundle);
}

#[test]
fn without_a_trusted_root_no_keyless_statement_counts() {
    let scene = Scene::with(|_| None);
    scene.refuses(&scene.keyless(&alice()));
}

#[test]
fn a_trusted_root_that_is_taken_out_takes_its_verdicts_with_it() {
    let mut scene = Scene::new();
    scene.attest(&scene.keyless(&alice()));
    assert_eq!(scene.counted().len(), 1);
    scene.fixture.trusted_root = None;
    scene.fixture.publish(2);
    assert_eq!(scene.counted(), []);
}

#[test]
fn other_bytes_than_the_signed_trusted_root_end_the_refresh_and_are_not_kept() {
    let scene = Scene::new();
    let bytes = scene.fixture.trusted_root.clone().unwrap();
    let path = scene.fixture.dir.path().join(layout::target(TARGET, &Sha256::of(&bytes)));
    let mut forged = Instance::new().trusted_root();
    forged.resize(bytes.len(), b' ');
    fs::write(&path, forged).unwrap();
    let error = refresh(&scene.home, &scene.config, Timestamp::now()).unwrap_err();
    assert!(error.to_string().contains(TARGET), "{error}");
    assert!(!scene.home.trust().join("trusted_root").exists());
    fs::write(&path, bytes).unwrap();
    scene.attest(&scene.keyless(&alice()));
    assert_eq!(scene.counted().len(), 1);
    // What is kept is held against the signed digest too.
    fs::write(scene.home.trust().join("trusted_root"), Instance::new().trusted_root()).unwrap();
    assert_eq!(scene.counted().len(), 1);
}
