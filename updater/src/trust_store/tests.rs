//! Several mirrors, roll-backs, and roots of others.

mod keyless;

use super::*;
use crate::fixture::mirror::{Mirror as Server, Mischief};
use crate::fixture::{PRODUCT, Person, Repository as Fixture};
use countersign_metadata::release::target_path;
use countersign_metadata::statement::Outcome;
use countersign_metadata::trust::{Bins, VerifiedTarget};
use countersign_metadata::waiver::waiver;
use countersign_metadata::word::vouch;
use serde_json::json;
use std::collections::BTreeSet;

fn node(urls: &[String], fixture: &Fixture) -> (tempfile::TempDir, Home, Config) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(dir.path()).unwrap();
    durable::write(&home.pinned_root(), &fs::read(fixture.root_file()).unwrap()).unwrap();
    let text = format!("product = \"{PRODUCT}\"\nrepositories = {urls:?}");
    home.finish(&text).unwrap();
    let config = Config::load(&home).unwrap();
    (dir, home, config)
}

#[test]
fn the_first_mirror_that_can_be_trusted_is_taken_and_the_others_are_named() {
    let mut good = Fixture::new();
    good.add("1.0.0", &[("bin/node*", "x")], json!({}));
    good.publish(2);
    good.publish(2);
    let mut lone = Fixture::new();
    lone.add("1.0.0", &[("bin/node*", "x")], json!({}));
    lone.publish(1);
    let urls = ["file:///nowhere".to_owned(), lone.url(), good.url()];
    let (_dir, home, config) = node(&urls, &good);
    let found = refresh(&home, &config, Timestamp::now()).unwrap();
    assert_eq!(found.mirror.to_string(), format!("{}/", good.url()));
    assert_eq!(found.releases.verified.len(), 1);
    let troubles: Vec<_> = found.passed_over.iter().map(|(_, error)| error).collect();
    assert!(matches!(troubles[0], TrustError::Unreachable { .. }));
    let lone = TrustError::NotEnoughSignatures {
        role: PRODUCT.to_owned(),
        version: 1,
        found: 1,
        needed: 2,
    };
    assert_eq!(troubles[1].to_string(), lone.to_string());
    assert_eq!(kept_releases(&home, &config, Timestamp::now()).unwrap().verified.len(), 1);
}

#[test]
fn files_are_kept_as_downloaded_and_a_mirror_cannot_roll_them_back() {
    let mut fixture = Fixture::new();
    fixture.publish(2);
    let old = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        fs::create_dir_all(old.path().join("metadata")).unwrap();
        fs::copy(fixture.dir.path().join(name), old.path().join(name)).unwrap();
    };
    ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.example.json"]
        .iter()
        .for_each(|name| copy(&format!("metadata/{name}")));
    fixture.publish(2);
    let (_dir, home, config) = node(&[fixture.url()], &fixture);
    refresh(&home, &config, Timestamp::now()).unwrap();
    let timestamp = fs::read(home.trust().join("timestamp.json")).unwrap();
    assert_eq!(timestamp, fs::read(fixture.dir.path().join("metadata/timestamp.json")).unwrap());

    let stale = format!("file://{}", old.path().display());
    let text = format!("product = \"{PRODUCT}\"\nrepositories = [{stale:?}]");
    let config = Config::from_text(&text, home.config_file()).unwrap();
    let error = refresh(&home, &config, Timestamp::now()).unwrap_err();
    assert!(error.to_string().contains("rolled back"), "{error}");
    assert!(!error.is_unreachable());
    assert_eq!(fs::read(home.trust().join("timestamp.json")).unwrap(), timestamp);
}

#[test]
fn a_root_of_another_repository_trusts_nothing() {
    let mut fixture = Fixture::new();
    fixture.publish(2);
    let (_dir, home, config) = node(&[fixture.url()], &fixture);
    durable::write(&home.pinned_root(), b"{}").unwrap();
    let error = refresh(&home, &config, Timestamp::now()).unwrap_err();
    assert!(matches!(error, TrustStoreError::Root { .. }));
}

/// A repository with 2.0.0, reproduced by alice, and a node that demands that.
fn reproduced() -> (Fixture, Sha256, tempfile::TempDir, Home, Config) {
    let mut fixture = Fixture::new();
    let release = fixture.add("2.0.0", &[("bin/node*", "x")], json!({}));
    fixture.publish(2);
    fixture.attest(&release, &fixture.keyholders[0], Outcome::Reproduced);
    fixture.attest(&release, &Person::new(9, "stranger"), Outcome::Reproduced);
    let (dir, home, _) = node(&[fixture.url()], &fixture);
    let config = policy(&home, &fixture.url());
    (fixture, release.artifact.sha256, dir, home, config)
}

fn policy(home: &Home, url: &str) -> Config {
    let more = "[policy]\nreproducers = 1";
    let text = format!("product = \"{PRODUCT}\"\nrepositories = [{url:?}]\n{more}");
    Config::from_text(&text, home.config_file()).unwrap()
}

#[test]
fn an_error_while_attestations_are_fetched_is_never_nobody_reproduced_it() {
    let (fixture, artifact, _dir, home, config) = reproduced();
    let index = fixture.dir.path().join(layout::attestation_index(&artifact));
    let bytes = fs::read(&index).unwrap();
    // Longer than is read: an answer, and not an index.
    fs::File::create(&index).unwrap().set_len(limit::ATTESTATION + 1).unwrap();
    let error = refresh(&home, &config, Timestamp::now()).unwrap_err();
    assert!(error.to_string().contains("attestations"), "{error}");
    fs::write(&index, bytes).unwrap();
    let found = refresh(&home, &config, Timestamp::now()).unwrap();
    assert_eq!(found.reproduced[&artifact].by.len(), 2);
}

#[test]
fn a_verdict_that_was_verified_once_counts_after_the_mirror_hides_it() {
    let (fixture, artifact, _dir, home, config) = reproduced();
    let alice = fixture.keyholders[0].key;
    refresh(&home, &config, Timestamp::now()).unwrap();
    fs::remove_file(fixture.dir.path().join(layout::attestation_index(&artifact))).unwrap();
    let found = refresh(&home, &config, Timestamp::now()).unwrap();
    assert_eq!(
        found.reproduced[&artifact].by,
        BTreeSet::from([alice.into()]),
        "strangers are not kept"
    );
    let kept = kept_reproducers(&home, &found.releases, Timestamp::now()).unwrap();
    assert_eq!(kept, found.reproduced);

    // What is kept is verified again: a forged file counts for nothing.
    let file = home.trust().join(format!("{artifact}.verdicts"));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("sig", "gis", 1)).unwrap();
    let found = refresh(&home, &config, Timestamp::now()).unwrap();
    assert!(found.reproduced[&artifact].by.is_empty());
}

#[test]
fn whose_signature_rests_on_a_rebuild_is_known_offline_and_one_rebuild_stands_for_one_keyholder() {
    let mut fixture = Fixture::new();
    let release = fixture.add("2.0.0", &[("bin/node*", "x")], json!({}));
    fixture.publish(2);
    let other = fixture.add("9.0.0", &[("bin/node*", "y")], json!({}));
    let [alice, bob, carol] = &fixture.keyholders[..] else { panic!() };
    let (machine, stranger) = (Person::new(41, "machine"), Person::new(9, "stranger"));
    let (message, artifact) = (Sha256::of(b"the role"), release.artifact.sha256);
    let says = |about: &Release, who: &Person, by: &Person| {
        fixture.say(about, who, &vouch(about, &who.key, &by.key, message));
    };
    let (_dir, home, _) = node(&[fixture.url()], &fixture);
    let text = format!("product = \"{PRODUCT}\"\nrepositories = [{:?}]", fixture.url());
    let text = format!("{text}\n[policy]\nrebuilt = true");
    let config = Config::from_text(&text, home.config_file()).unwrap();
    let keyholders = || {
        let found = refresh(&home, &config, Timestamp::now()).unwrap();
        let kept = kept_reproducers(&home, &found.releases, Timestamp::now()).unwrap();
        let offline = kept[&artifact].keyholders.clone();
        assert_eq!(found.reproduced[&artifact].keyholders, offline);
        offline
    };
    // A verdict by a key that nobody vouches for, by one that a stranger vouches for, and words about another release.
    fixture.attest(&release, &machine, Outcome::Reproduced);
    says(&release, &stranger, &machine);
    says(&other, alice, &machine);
    says(&release, carol, &machine);
    assert!(keyholders().is_empty(), "carol has not signed");
    says(&release, alice, &machine);
    assert_eq!(keyholders(), BTreeSet::from([alice.key]));
    says(&release, bob, &machine);
    assert_eq!(keyholders().len(), 1, "the same rebuild");
    fixture.say(&release, bob, &waiver(std::slice::from_ref(&release), &bob.key, message));
    assert_eq!(keyholders().len(), 1);
    fixture.attest(&release, bob, Outcome::Reproduced);
    assert_eq!(keyholders(), BTreeSet::from([alice.key, bob.key]));

    // A mirror that hides all of it changes nothing.
    fs::remove_file(fixture.dir.path().join(layout::attestation_index(&artifact))).unwrap();
    assert_eq!(keyholders().len(), 2);
}

#[test]
fn a_node_of_a_product_with_bins_loads_and_keeps_what_it_may_want_and_nothing_else() {
    let mut fixture = Fixture::with_bins(256);
    let other = json!({ "platform": "linux-riscv64" });
    for minor in 0..30 {
        for more in [json!({}), other.clone()] {
            fixture.add(&format!("1.{minor}.0"), &[("bin/node*", "x")], more);
        }
    }
    fixture.publish(2);
    let (_dir, home, config) = node(&[fixture.url()], &fixture);
    let kept = || {
        let bins = |name: &String| name.starts_with("example.") && name != "example.index.json";
        let mut names: Vec<_> = TrustDir::new(home.trust()).read().unwrap().into_keys().collect();
        names.retain(|name| name != "example.json" && bins(name));
        names
    };
    let wanted = |versions: &[&str]| {
        let (product, bins) = (PRODUCT.parse().unwrap(), Bins::try_from(256).unwrap());
        let path = |version: &&str| {
            let version = version.parse().unwrap();
            target_path(&product, &version, &config.platform)
        };
        let names = versions.iter().map(|v| format!("{}.json", bins.of(&product, &path(v))));
        names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let found = refresh(&home, &config, Timestamp::now()).unwrap();
    let versions = |releases: &Releases| -> Vec<_> {
        let all = releases.verified.iter().map(VerifiedTarget::release);
        let all = all.inspect(|release| assert_eq!(release.platform, config.platform));
        all.map(|release| release.version.to_string()).collect()
    };
    let newest = ["1.26.0", "1.27.0", "1.28.0", "1.29.0"];
    assert_eq!(versions(&found.releases), newest);
    assert_eq!(kept(), wanted(&newest));

    // Bins that it needs no more do not pile up on its disk.
    for version in ["2.0.0", "2.1.0", "2.2.0", "2.3.0"] {
        fixture.add(version, &[("bin/node*", "x")], json!({}));
        fixture.publish(2);
        refresh(&home, &config, Timestamp::now()).unwrap();
    }
    let newest = ["2.0.0", "2.1.0", "2.2.0", "2.3.0"];
    assert_eq!(kept(), wanted(&newest));
    drop(fixture);
    assert_eq!(versions(&kept_releases(&home, &config, Timestamp::now()).unwrap()), newest);
}

#[test]
fn a_local_store_that_is_cut_off_or_changed_is_downloaded_again_and_never_believed() {
    let mut fixture = Fixture::new();
    fixture.add("2.0.0", &[("bin/node*", "x")], json!({}));
    fixture.publish(2);
    fixture.publish(2);
    let (_dir, home, config) = node(&[fixture.url()], &fixture);
    let now = Timestamp::now();
    refresh(&home, &config, now).unwrap();
    let dir = TrustDir::new(home.trust());
    let whole = dir.read().unwrap();
    for (name, bytes) in whole.iter().filter(|(name, _)| *name != "root.json") {
        let mut changed = bytes.clone();
        let middle = bytes.len() / 2;
        changed[middle] ^= 1;
        for damaged in [Vec::new(), bytes[..1].to_vec(), bytes[..middle].to_vec(), changed] {
            fs::write(home.trust().join(name), &damaged).unwrap();
            // Without a repository it is worth nothing, and with one it is whole again.
            assert!(kept_releases(&home, &config, now).is_err(), "{name}");
            assert_eq!(refresh(&home, &config, now).unwrap().releases.verified.len(), 1, "{name}");
            assert_eq!(dir.read().unwrap(), whole, "{name}");
        }
    }
    // The root is what all of it hangs on: a person is asked to look.
    let root = &whole["root.json"];
    fs::write(home.trust().join("root.json"), &root[..root.len() / 2]).unwrap();
    let error = refresh(&home, &config, now).unwrap_err();
    assert!(matches!(error, TrustStoreError::Root { .. }), "{error}");
}

#[test]
fn a_mirror_that_wants_to_be_left_alone_is_and_the_next_one_is_asked() {
    let mut fixture = Fixture::new();
    fixture.publish(2);
    let refuse = Mischief::Refuse { status: 503, retry_after: Some(600), all: true };
    let busy = Server::serve(fixture.dir.path(), refuse);
    let (_dir, home, config) = node(&[busy.url.clone(), fixture.url()], &fixture);
    for asked in [1, 1] {
        let found = refresh(&home, &config, Timestamp::now()).unwrap();
        assert_eq!(found.mirror.to_string(), format!("{}/", fixture.url()));
        assert_eq!(busy.asked.lock().unwrap().len(), asked);
    }
    let (_dir, home, config) = node(std::slice::from_ref(&busy.url), &fixture);
    refresh(&home, &config, Timestamp::now()).unwrap_err();
    let error = refresh(&home, &config, Timestamp::now()).unwrap_err();
    assert!(error.is_unreachable() && error.retry(), "{error}");
    assert!(error.to_string().contains("not asked again before"), "{error}");
}
