//! The trusted root of a Sigstore instance as a target, and bundles beside envelopes.

use std::fs;

use countersign_metadata::attestation::Index;
use countersign_metadata::layout;
use countersign_metadata::sigstore::{Signer, to_bundle};
use countersign_metadata::statement::{Outcome, unsigned_verdict};
use countersign_metadata::trust::Trust;
use countersign_metadata::trusted_root::TARGET;
use jiff::Timestamp;

use crate::instance::Instance;
use crate::site::{Disk, Site, verdict};

/// Drafts it, signed by alice and bob, and publishes it.
fn publish(site: &Site, arguments: &[&str]) {
    let run = site.run(&[&["trusted-root", "--repo", "REPO"], arguments].concat());
    assert_eq!(run.code, 0, "{}", run.json);
    site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    let run = site.publish(9);
    assert_eq!(run.code, 0, "{}", run.json);
}

/// The target that a client finds, checked; nothing where there is none.
fn found(site: &Site) -> Option<Vec<u8>> {
    let mut source = Disk(site.path("REPO/public"));
    let root = fs::read(site.path("REPO/public/metadata/1.root.json")).unwrap();
    let mut trust = Trust::from_root(&root).unwrap();
    trust.refresh(Timestamp::now(), &mut source).unwrap();
    let target = trust.target(TARGET, Timestamp::now(), &mut source).unwrap()?;
    assert_eq!(target.role(), "targets");
    let bytes = fs::read(site.path("REPO/public").join(target.served_at())).unwrap();
    target.check(&bytes).unwrap();
    Some(bytes)
}

#[test]
fn keyholders_sign_a_trusted_root_that_a_rotation_keeps_and_that_can_be_exchanged_and_taken_out() {
    let site = Site::released();
    assert_eq!(found(&site), None);
    let (one, two) = (Instance::new().trusted_root(), Instance::new().trusted_root());
    fs::write(site.path("one.json"), &one).unwrap();
    fs::write(site.path("two.json"), &two).unwrap();
    publish(&site, &["one.json"]);
    assert_eq!(found(&site).as_ref(), Some(&one));
    let again = site.run(&["trusted-root", "--repo", "REPO", "one.json"]);
    assert_eq!(again.code, 3, "{}", again.json);

    let rotate = ["rotate", "--repo", "REPO", "--remove", "carol", "--add", "dave=dave.pub"];
    let run = site.run(&rotate);
    assert_eq!(run.code, 0, "{}", run.json);
    site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    assert_eq!(found(&site), Some(one));
    // A release after it, and then another instance.
    site.release("1.1.0", &[1, 2]);
    publish(&site, &["two.json"]);
    assert_eq!(found(&site), Some(two));
    publish(&site, &["--remove"]);
    assert_eq!(found(&site), None);
    assert_eq!(site.client().unwrap().verified.len(), 2);
}

#[test]
fn what_is_no_trusted_root_is_not_drafted() {
    let site = Site::published();
    for text in ["", "{}", "[]", "{\"mediaType\":\"text/plain\"}"] {
        fs::write(site.path("bad.json"), text).unwrap();
        let run = site.run(&["trusted-root", "--repo", "REPO", "bad.json"]);
        assert!(run.code == 3, "{text}: {}", run.json);
    }
    assert_eq!(site.run(&["trusted-root", "--repo", "REPO", "--remove"]).code, 3);
    assert!(!site.path("REPO/drafts/0002-trusted-root").exists());
}

#[test]
fn one_signature_is_not_enough_for_a_trusted_root() {
    let site = Site::published();
    fs::write(site.path("one.json"), Instance::new().trusted_root()).unwrap();
    let run = site.run(&["trusted-root", "--repo", "REPO", "one.json"]);
    site.sign(run.json["draft"].as_str().unwrap(), &[1]);
    assert_eq!(site.publish(9).code, 1);
    assert_eq!(found(&site), None);
}

#[test]
fn bundles_are_listed_beside_envelopes_and_bare_ones_are_unwrapped() {
    let site = Site::released();
    let release = site.build("1.0.0", "1.0.0");
    let artifact = release.artifact.sha256;
    let instance = Instance::new();
    fs::write(site.path("root.json"), instance.trusted_root()).unwrap();
    publish(&site, &["root.json"]);
    let attest = |name: &str, bytes: &[u8]| {
        fs::write(site.path(name), bytes).unwrap();
        let run = site.run(&["attest", "--repo", "REPO", name]);
        assert_eq!(run.code, 0, "{}", run.json);
        run.json["path"].as_str().unwrap().to_owned()
    };
    let index = || -> Index {
        let path = site.path("REPO/public").join(layout::attestation_index(&artifact));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    // A managed key's bundle without a log entry is the bare envelope, which older readers read.
    let bare = to_bundle(&verdict(&release, 8, Outcome::Reproduced)).unwrap();
    assert!(attest("bare.json", &bare).ends_with(".dsse.json"));
    assert_eq!((index().envelopes.len(), index().bundles.len()), (1, 0));

    let alice = Signer {
        label: "alice".to_owned(),
        identity: "alice@example.com".to_owned(),
        issuer: "https://token.example".to_owned(),
    };
    let now = "2026-01-01T12:00:00Z".parse().unwrap();
    let environment = release.environment.clone();
    let mut said = unsigned_verdict(&release, now, environment, Outcome::Reproduced);
    said.predicate.verifier.id = alice.name();
    let bundle = instance.keyless(&alice, &said).to_string();
    let path = attest("bundle.json", bundle.as_bytes());
    assert!(path.ends_with(".sigstore.json"), "{path}");
    assert_eq!(fs::read(site.path("REPO/public").join(&path)).unwrap(), bundle.as_bytes());
    assert_eq!(attest("again.json", bundle.as_bytes()), path);
    assert_eq!((index().envelopes.len(), index().bundles.len()), (1, 1));
    // Another envelope after it: the bundles stay listed.
    let other = serde_json::to_vec(&verdict(&release, 7, Outcome::Reproduced)).unwrap();
    attest("other.json", &other);
    assert_eq!((index().envelopes.len(), index().bundles.len()), (2, 1));
}
