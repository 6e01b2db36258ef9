//! What each signature of a release is founded on: told by `status` and `publish`, and published for nodes.

use std::fs;

use countersign_metadata::attestation::Index;
use countersign_metadata::request::Signature;
use countersign_metadata::statement::Outcome;
use countersign_metadata::waiver::waiver;
use countersign_metadata::word::{self, Word, vouch};
use countersign_metadata::{Release, layout};
use serde_json::Value;

use crate::key::TestKey;
use crate::site::{Site, verdict};

/// A drafted release.
fn drafted() -> (Site, Release) {
    let site = Site::published();
    let release = site.build("OUT", "1.0.0");
    assert_eq!(site.draft("OUT").code, 0);
    (site, release)
}

const DRAFT: &str = "0002-demo-1.0.0-linux-x86_64";

fn merge(site: &Site, seed: u8, change: impl FnOnce(&mut Signature)) -> crate::site::Run {
    let file = site.answer(&site.requests(DRAFT)[0], seed, change);
    site.run(&["merge", "--repo", "REPO", &file])
}

fn waives(release: &Release, seed: u8) -> impl FnOnce(&mut Signature) + use<> {
    let (key, releases) = (TestKey::new(seed), [release.clone()]);
    move |s| s.waiver = Some(key.envelope(&waiver(&releases, &s.key, s.message)))
}

/// The rebuild of `other`, which `seed` says is an own one.
fn vouches(release: &Release, seed: u8, other: u8) -> impl FnOnce(&mut Signature) + use<> {
    let (key, by, release) = (TestKey::new(seed), TestKey::new(other).public, release.clone());
    move |s| {
        s.rebuilt = Some(verdict(&release, other, Outcome::Reproduced));
        s.vouched = Some(key.envelope(&vouch(&release, &s.key, &by, s.message)));
    }
}

fn evidence(signed: &Value, label: &str) -> String {
    let all = signed.as_array().unwrap();
    let one = all.iter().find(|s| s["label"] == label).unwrap();
    one["evidence"].as_str().unwrap().to_owned()
}

#[test]
fn every_signature_says_whether_it_was_rebuilt_and_that_travels_with_the_release() {
    let (site, release) = drafted();
    let run = merge(&site, 1, vouches(&release, 1, 41));
    assert_eq!(run.code, 0, "{}", run.json);
    assert_eq!(merge(&site, 2, waives(&release, 2)).code, 0);
    let own = verdict(&release, 3, Outcome::Reproduced);
    assert_eq!(merge(&site, 3, |s| s.rebuilt = Some(own)).code, 0);

    let shown = String::from_utf8(site.raw(&["status", "--repo", "REPO"]).stdout).unwrap();
    let by = TestKey::new(41).public.to_string();
    let flat = shown.replace(['\n', '│', ' '], "");
    for said in ["alice(rebuiltit,verdictby", "bob(waived:NOTrebuilt", "carol(rebuiltit)"] {
        assert!(flat.contains(said), "{said}: {shown}");
    }
    let run = site.publish(9);
    assert_eq!(run.code, 0, "{}", run.json);
    let signed = &run.json["signatures"][0]["signed"];
    let all = ["alice", "bob", "carol"].map(|label| evidence(signed, label));
    assert_eq!(all, ["rebuilt", "waived", "rebuilt"]);
    assert!(signed.as_array().unwrap().iter().any(|s| s["rebuilt_by"] == by.as_str()));

    let artifact = release.artifact.sha256;
    let public = site.path("REPO/public");
    let index = fs::read(public.join(layout::attestation_index(&artifact))).unwrap();
    let index: Index = serde_json::from_slice(&index).unwrap();
    let words: Vec<_> = index
        .envelopes
        .iter()
        .map(|name| fs::read(public.join(layout::attestation(&artifact, name))).unwrap())
        .filter_map(|bytes| word::read(&bytes, &release).ok())
        .collect();
    let [alice, bob, rebuilder] = [1, 2, 41].map(|seed| TestKey::new(seed).public);
    assert!(words.contains(&Word::Vouched { keyholder: alice, rebuilder }));
    assert!(words.contains(&Word::Waived { keyholder: bob }) && words.len() == 2);
    let other = site.build("OTHER", "1.1.0");
    let bytes = fs::read(public.join(layout::attestation(&artifact, &index.envelopes[1]))).unwrap();
    assert!(word::read(&bytes, &release).is_ok() && word::read(&bytes, &other).is_err());
}

#[test]
fn two_signers_of_one_rebuild_are_told() {
    let (site, release) = drafted();
    assert_eq!(merge(&site, 1, vouches(&release, 1, 41)).code, 0);
    let run = merge(&site, 2, vouches(&release, 2, 41));
    let signed = &run.json["drafts"][0]["roles"][0]["signed"];
    for (one, other) in [(0, "bob"), (1, "alice")] {
        assert_eq!(signed[one]["same_rebuild_as"][0], other, "{signed}");
    }
    let shown = String::from_utf8(site.raw(&["status", "--repo", "REPO"]).stdout).unwrap();
    let flat = shown.replace(['\n', '│', ' '], "");
    assert!(flat.contains("THESAMEREBUILDasbob"), "{shown}");
}

#[test]
fn a_word_that_its_signer_has_not_said_is_refused_and_more_is_not_replaced_by_less() {
    let (site, release) = drafted();
    let (other, bob) = (site.build("OTHER", "1.1.0"), TestKey::new(2));
    for bend in 0..4 {
        let run = merge(&site, 1, |s| match bend {
            0 => {
                s.waiver =
                    Some(bob.envelope(&waiver(std::slice::from_ref(&release), &s.key, s.message)))
            }
            1 => waives(&other, 1)(s),
            2 => {
                vouches(&release, 1, 41)(s);
                s.rebuilt = Some(verdict(&release, 42, Outcome::Reproduced));
            }
            _ => {
                vouches(&release, 1, 41)(s);
                s.vouched = Some(bob.envelope(&vouch(&release, &s.key, &bob.public, s.message)));
            }
        });
        assert_eq!(run.code, 6, "{bend}: {}", run.json);
    }
    assert_eq!(merge(&site, 1, waives(&release, 1)).code, 0);
    let run = merge(&site, 1, |_| {});
    assert_eq!(evidence(&run.json["drafts"][0]["roles"][0]["signed"], "alice"), "waived");
    assert_eq!(merge(&site, 1, vouches(&release, 1, 41)).code, 0);
    let run = merge(&site, 1, waives(&release, 1));
    assert_eq!(evidence(&run.json["drafts"][0]["roles"][0]["signed"], "alice"), "rebuilt");
}
