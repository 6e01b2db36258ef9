//! Who may sign what, and what a release demands beforehand.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Repo, envelope, product, release, request, targets, verdict};
use countersign_keys::Refused;
use countersign_keys::pin::PinnedRoot;
use countersign_keys::review::{Reviewed, review};
use countersign_keys::sign::{Rebuilds, Signed, attest, sign, statement};
use countersign_metadata::request::{Bytes, FORMAT, RequestSubject, SigningRequest};
use countersign_metadata::statement::Outcome;
use countersign_metadata::{Release, Sha256};

/// Alice is asked to sign the release of demo 1.0.0.
struct Asked {
    repo: Repo,
    release: Release,
    request: SigningRequest,
    reviewed: Reviewed,
}

impl Asked {
    fn new() -> Self {
        Self::about(&[release("1.0.0")])
    }

    fn about(releases: &[Release]) -> Self {
        let repo = Repo::new();
        let request = repo.release_request(&product(2, releases), Some(&product(1, &[])));
        let pinned = PinnedRoot::published(repo.published_root1());
        let pinned = pinned.unwrap_or_else(|e| panic!("{e}"));
        let reviewed = review(&request, Some(&pinned)).unwrap_or_else(|e| panic!("{e}"));
        Self { release: releases[0].clone(), repo, request, reviewed }
    }

    fn with(&self, verdict: Vec<u8>) -> Result<Signed, Refused> {
        sign(&self.reviewed, &self.repo.alice.secret, &Rebuilds::Verdicts(vec![verdict]))
    }

    fn refused(&self, verdict: Vec<u8>) -> String {
        match self.with(verdict).err() {
            Some(Refused::Verdict { reason, .. }) => reason,
            Some(other) => panic!("{other}"),
            None => panic!("it was signed"),
        }
    }
}

#[test]
fn a_release_is_signed_on_the_keyholders_own_rebuild_and_carries_it() {
    let asked = Asked::new();
    let own = verdict(&asked.release, &asked.repo.alice, Outcome::Reproduced);
    let own = serde_json::to_vec(&attest(&own, &asked.repo.alice.secret).unwrap()).unwrap();
    let signed = asked.with(own).unwrap_or_else(|e| panic!("{e}"));
    assert!(signed.signature.rebuilt.is_some() && signed.rebuilt.is_some());
    let message = asked.request.message();
    let minisig = signed.signature.minisig.clone().unwrap();
    let key = asked.repo.alice.key();
    let comment = countersign_keys::minisig::verify(&minisig, key, &message).unwrap();
    assert_eq!(comment, "countersign: demo version 2");
    assert_eq!(signed.signature.label, "alice");
    signed.signature.verify(&message).unwrap();
}

#[test]
fn a_release_without_a_rebuild_is_signed_only_when_that_is_spelled_out() {
    let asked = Asked::new();
    let key = &asked.repo.alice.secret;
    let refused = sign(&asked.reviewed, key, &Rebuilds::Verdicts(Vec::new())).err();
    assert!(matches!(refused, Some(Refused::NotRebuilt(_))));
    let signed = sign(&asked.reviewed, key, &Rebuilds::WithoutRebuild);
    assert!(signed.unwrap_or_else(|e| panic!("{e}")).signature.rebuilt.is_none());
}

#[test]
fn another_keyholders_verdict_is_refused() {
    let asked = Asked::new();
    let bobs = verdict(&asked.release, &asked.repo.bob, Outcome::Reproduced);
    assert!(asked.refused(envelope(&bobs, &asked.repo.bob)).contains("not your key"));
    // Bob's words in alice's envelope, and alice's words in bob's.
    asked.refused(envelope(&bobs, &asked.repo.alice));
    let alices = verdict(&asked.release, &asked.repo.alice, Outcome::Reproduced);
    asked.refused(envelope(&alices, &asked.repo.bob));
}

#[test]
fn a_verdict_replayed_for_another_artifact_platform_or_version_is_refused() {
    let asked = Asked::new();
    let mut others = [asked.release.clone(), asked.release.clone(), asked.release.clone()];
    others[0].artifact.sha256 = Sha256::of(b"another artifact");
    others[1].platform = "linux-aarch64".parse().unwrap();
    others[2].version = "1.0.1".parse().unwrap();
    for other in others {
        let replayed = verdict(&other, &asked.repo.alice, Outcome::Reproduced);
        let reason = asked.refused(envelope(&replayed, &asked.repo.alice));
        assert!(reason.contains("another artifact"), "{reason}");
    }
    let mut recipe = asked.release.clone();
    recipe.recipe = Sha256::of(b"another recipe");
    let replayed = verdict(&recipe, &asked.repo.alice, Outcome::Reproduced);
    assert!(asked.refused(envelope(&replayed, &asked.repo.alice)).contains("another recipe"));
}

#[test]
fn a_failed_verdict_is_refused() {
    let asked = Asked::new();
    let sha256 = Sha256::of(b"other bytes");
    let reason = "no compiler".to_owned();
    for (outcome, part) in [
        (Outcome::Divergence { sha256 }, "other bytes came out"),
        (Outcome::DidNotBuild { reason }, "did not build"),
    ] {
        let failed = verdict(&asked.release, &asked.repo.alice, outcome);
        let told = asked.refused(envelope(&failed, &asked.repo.alice));
        assert!(told.contains(part), "{told}");
    }
    let mut lie = verdict(&asked.release, &asked.repo.alice, Outcome::Reproduced);
    lie = String::from_utf8(lie).unwrap().replace("PASSED", "FAILED").into_bytes();
    assert!(asked.refused(envelope(&lie, &asked.repo.alice)).contains("disagree"));
}

#[test]
fn one_verdict_cannot_stand_for_two_releases() {
    let asked = Asked::about(&[release("1.0.0"), release("1.1.0")]);
    let own = verdict(&asked.release, &asked.repo.alice, Outcome::Reproduced);
    let refused = asked.with(envelope(&own, &asked.repo.alice)).err();
    assert!(matches!(refused, Some(Refused::SeveralReleases(2))));
}

#[test]
fn a_key_signs_only_the_roles_that_are_its_own() {
    let asked = Asked::new();
    for other in [&asked.repo.stranger, &asked.repo.online] {
        let refused = sign(&asked.reviewed, &other.secret, &Rebuilds::WithoutRebuild).err();
        assert!(matches!(refused, Some(Refused::NotASigner(_))));
    }
}

#[test]
fn whoever_signs_a_first_root_can_judge_the_drafts_beside_it_from_then_on() {
    let repo = Repo::new();
    let first = review(&request("root", &repo.root1(), &[], None, None), None);
    let first = first.unwrap_or_else(|e| panic!("{e}"));
    let rebuilds = Rebuilds::Verdicts(Vec::new());
    let signed = sign(&first, &repo.alice.secret, &rebuilds).unwrap_or_else(|e| panic!("{e}"));
    let pinned = signed.pin.expect("a first root is pinned");
    let targets = request("targets", &targets(1, &repo.three(), 2), &[], None, None);
    let targets = review(&targets, Some(&pinned)).unwrap_or_else(|e| panic!("{e}"));
    let signed = sign(&targets, &repo.alice.secret, &rebuilds).unwrap_or_else(|e| panic!("{e}"));
    assert!(signed.pin.is_none());
}

#[test]
fn a_statement_is_signed_only_in_the_keys_own_name_and_only_of_a_known_type() {
    let repo = Repo::new();
    let own = verdict(&release("1.0.0"), &repo.alice, Outcome::Reproduced);
    assert!(attest(&own, &repo.alice.secret).is_ok());
    assert!(matches!(attest(&own, &repo.bob.secret), Err(Refused::OtherIdentity(_))));
    let text = String::from_utf8(own.clone()).unwrap();
    let unknown = text.replace("verification_summary/v1", "verification_summary/v2");
    let refused = statement(unknown.as_bytes()).err().unwrap();
    assert!(matches!(refused, Refused::Unexplained { .. }), "{refused}");
    let elsewhere = text.replace("\"resourceUri\":\"demo", "\"resourceUri\":\"other");
    assert!(matches!(statement(elsewhere.as_bytes()), Err(Refused::Malformed { .. })));

    let subject = RequestSubject::Statement { payload: Bytes(own) };
    let asked = SigningRequest { format: FORMAT, subject };
    let reviewed = review(&asked, None).unwrap_or_else(|e| panic!("{e}"));
    let text = reviewed.get().words("2026-11-20T00:00:00Z".parse().unwrap());
    assert!(text.contains("the same bytes came out"), "{text}");
    let signed = sign(&reviewed, &repo.alice.secret, &Rebuilds::Verdicts(Vec::new()));
    signed.unwrap_or_else(|e| panic!("{e}")).signature.verify(&asked.message()).unwrap();
}

#[test]
fn a_shadow_report_is_signed_only_if_its_result_is_its_own() {
    let repo = Repo::new();
    let observer = countersign_metadata::statement::identity(repo.alice.key());
    let artifact = Sha256::of(b"artifact").to_string();
    let digest = |sha256: &str| serde_json::json!({ "sha256": sha256 });
    let said = |result: &str, about: &str| {
        let statement = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "demo 1.0.0", "digest": digest(about) }],
            "predicateType": "https://countersign.dev/shadow-report/v1",
            "predicate": {
                "observer": { "id": observer },
                "timeReported": "2026-11-20T00:00:00Z",
                "verificationResult": result,
                "reportDigest": digest(&artifact),
                "report": { "artifact": artifact, "verdict": { "verdict": "cleared" } },
            },
        });
        serde_json::to_vec(&statement).unwrap()
    };
    let honest = said("PASSED", &artifact);
    assert!(attest(&honest, &repo.alice.secret).is_ok());
    assert!(matches!(attest(&honest, &repo.bob.secret), Err(Refused::OtherIdentity(_))));
    let reviewed = statement(&honest).unwrap_or_else(|e| panic!("{e}"));
    let words = reviewed.get().words("2026-11-20T00:00:00Z".parse().unwrap());
    assert!(
        words.contains("I ran this in a shadow, and it did nothing that it may not"),
        "{words}"
    );
    let other = Sha256::of(b"another").to_string();
    for lie in [said("FAILED", &artifact), said("PASSED", &other)] {
        assert!(matches!(statement(&lie), Err(Refused::Malformed { .. })));
    }
}

#[test]
fn nothing_that_is_printed_holds_the_secret() {
    let asked = Asked::new();
    let alice = &asked.repo.alice;
    let signed = sign(&asked.reviewed, &alice.secret, &Rebuilds::WithoutRebuild);
    let signed = signed.unwrap_or_else(|e| panic!("{e}"));
    let printed = format!(
        "{:?} {} {} {:?}",
        signed.signature,
        serde_json::to_string(&signed.signature).unwrap(),
        serde_json::to_string(asked.reviewed.get()).unwrap(),
        alice.secret.public()
    );
    let seed = alice.seed();
    let base64 = alice.files.secret.lines().nth(1).unwrap();
    assert!(!printed.contains(&hex::encode(&seed)) && !printed.contains(&base64[90..110]));
    assert!(!printed.contains(&format!("{seed:?}")[1..60]));
}

#[test]
fn a_rebuild_in_another_environment_does_not_stand_for_this_release() {
    let asked = Asked::new();
    let mut other = asked.release.clone();
    other.environment.sha256 = Sha256::of(b"another environment");
    let own = verdict(&other, &asked.repo.alice, Outcome::Reproduced);
    let own = attest(&own, &asked.repo.alice.secret).unwrap();
    let reason = asked.refused(serde_json::to_vec(&own).unwrap());
    assert!(reason.contains("in another environment"), "{reason}");
}

#[test]
fn who_signs_without_a_rebuild_signs_that_too() {
    let asked = Asked::new();
    let alice = &asked.repo.alice;
    let signed = sign(&asked.reviewed, &alice.secret, &Rebuilds::WithoutRebuild);
    let signature = signed.unwrap_or_else(|e| panic!("{e}")).signature;
    assert!(signature.rebuilt.is_none());
    let waiver = signature.waiver.unwrap();
    let releases = std::slice::from_ref(&asked.release);
    countersign_metadata::waiver::verify(&waiver, alice.key(), signature.message, releases)
        .unwrap();
    let other = [release("2.0.0")];
    countersign_metadata::waiver::verify(&waiver, alice.key(), signature.message, &other)
        .unwrap_err();
    // Where nothing is released there is nothing to waive.
    let root = request("root", &asked.repo.root1(), &[], None, None);
    let reviewed = review(&root, None).unwrap_or_else(|e| panic!("{e}"));
    let signed = sign(&reviewed, &alice.secret, &Rebuilds::WithoutRebuild);
    assert!(signed.unwrap_or_else(|e| panic!("{e}")).signature.waiver.is_none());
}
