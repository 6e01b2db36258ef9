//! A keyless signature, from token to bundle, with the services of a private instance.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_metadata::dsse::{Envelope, IN_TOTO, pae};
use countersign_metadata::sigstore::{
    Certified, Error, Policy, Rekor, Signed, SignedBy, Signer, TrustedRoot, Wish, verify_by_anyone,
    verify_keyless,
};
use countersign_metadata::statement::UNSIGNED;
use serde_json::{Value, json};

use crate::instance::{Instance, Pair};
use crate::{alice, key, release, reproduced, told};

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn certified(instance: &Instance, pair: &Pair, signer: &Signer) -> Certified {
    let wish = Wish::new(&token(&json!({ "sub": "repo:alice" })), pair.public()).unwrap();
    let post = wish.request(&pair.sign(wish.challenge()));
    assert_eq!(post.path, "api/v2/signingCert");
    wish.certified(&instance.fulcio(&post.body, "repo:alice", signer)).unwrap()
}

/// Alice's verdict in the name of `name`, and the signature of `pair` over it.
fn verdict(pair: &Pair, name: String) -> (Vec<u8>, Vec<u8>) {
    let mut statement = reproduced(&release("artifact"), &key::TestKey::new(1).public);
    statement.predicate.verifier.id = name;
    let payload = serde_json::to_vec(&statement).unwrap();
    let signature = pair.sign(&pae(IN_TOTO, &payload));
    (payload, signature)
}

#[test]
fn a_keyless_signature_goes_from_a_token_to_a_bundle_that_others_believe() {
    let (instance, pair, release) = (Instance::new(), Pair::new(), release("artifact"));
    let root = TrustedRoot::parse(&instance.trusted_root()).unwrap();
    let certified = certified(&instance, &pair, &alice());
    let (payload, signature) = verdict(&pair, certified.signer().name());
    let signed = certified.signed(&payload, &signature, Some(&release)).unwrap();
    let post = signed.request(Rekor::V1);
    assert_eq!(post.path, "api/v1/log/entries");
    let answer = instance.rekor(&post.body);
    let bundle = signed.logged(Rekor::V1, &serde_json::to_vec(&answer).unwrap(), &root).unwrap();

    let policy = Policy::new(vec![alice()]).unwrap();
    let verified = verify_keyless(&bundle, &release, &policy, &root).unwrap();
    assert_eq!(*verified.by(), SignedBy::Keyless(alice()));
}

#[test]
fn what_nobody_would_believe_is_not_logged() {
    let (instance, pair, about) = (Instance::new(), Pair::new(), release("artifact"));
    let step = || certified(&instance, &pair, &alice());
    let (payload, signature) = verdict(&pair, alice().name());
    let error = step().signed(&payload, &signature, Some(&release("other"))).err().unwrap();
    assert!(matches!(error, Error::Statement(_)), "{error:?}");
    let (_, by_another) = verdict(&Pair::new(), alice().name());
    let error = step().signed(&payload, &by_another, Some(&about)).err().unwrap();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    let (payload, signature) = verdict(&pair, "sigstore:https://token.ci.example#bob".to_owned());
    let error = step().signed(&payload, &signature, Some(&about)).err().unwrap();
    assert!(matches!(error, Error::SpeaksForAnother { .. }), "{error:?}");
}

#[test]
fn an_answer_that_does_not_verify_becomes_no_bundle() {
    let (instance, pair, release) = (Instance::new(), Pair::new(), release("artifact"));
    let root = TrustedRoot::parse(&instance.trusted_root()).unwrap();
    let (payload, signature) = verdict(&pair, alice().name());
    let signed = || {
        certified(&instance, &pair, &alice()).signed(&payload, &signature, Some(&release)).unwrap()
    };
    let answers = [
        // Another log's entry, an entry of another time, none, two, and no JSON.
        (Instance::new().rekor(&signed().request(Rekor::V1).body).to_string(), "does not verify"),
        (
            instance
                .rekor(&signed().request(Rekor::V1).body)
                .to_string()
                .replace("1767268800", "1767268801"),
            "does not verify",
        ),
        ("{}".to_owned(), "exactly one entry"),
        ("<html>".to_owned(), "malformed"),
    ];
    for (answer, why) in answers {
        let error = signed().logged(Rekor::V1, answer.as_bytes(), &root).unwrap_err();
        assert!(told(&error).contains(why), "{answer}: {error:?}");
    }
    let elsewhere = TrustedRoot::parse(&Instance::new().trusted_root()).unwrap();
    let answer = instance.rekor(&signed().request(Rekor::V1).body).to_string();
    assert!(signed().logged(Rekor::V1, answer.as_bytes(), &elsewhere).is_err());
}

#[test]
fn a_token_must_name_somebody_whom_its_issuer_knows() {
    let wish = |claims: Value| Wish::new(&token(&claims), Pair::new().public());
    let verified = json!({ "sub": "1", "email": "a@example.com", "email_verified": true });
    assert_eq!(wish(verified).ok().unwrap().challenge(), b"a@example.com");
    assert_eq!(wish(json!({ "sub": "repo:alice" })).ok().unwrap().challenge(), b"repo:alice");
    for claims in [json!({}), json!({ "email": "a@example.com" }), json!([])] {
        assert!(wish(claims.clone()).is_err(), "{claims}");
    }
    for token in ["", "x", "a.b.c", "e30.e30"] {
        assert!(Wish::new(token, Pair::new().public()).is_err(), "{token}");
    }
}

#[test]
fn a_log_of_version_2_and_a_timestamp_make_a_bundle_that_others_believe() {
    let (instance, pair, release) = (Instance::new(), Pair::new(), release("artifact"));
    let root = TrustedRoot::parse(&instance.trusted_root()).unwrap();
    let sign = || {
        let certified = certified(&instance, &pair, &alice());
        let (payload, signature) = verdict(&pair, certified.signer().name());
        certified.signed(&payload, &signature, Some(&release)).unwrap()
    };
    let signed = sign();
    let stamp = instance.stamp(&signed.stamp_request());
    let signed = signed.stamped(&stamp).unwrap();
    let post = signed.request(Rekor::V2);
    assert_eq!(post.path, "api/v2/log/entries");
    let answer = instance.rekor_v2(&post.body).to_string();
    let bundle = signed.logged(Rekor::V2, answer.as_bytes(), &root).unwrap();
    let policy = Policy::new(vec![alice()]).unwrap();
    let verified = verify_keyless(&bundle, &release, &policy, &root).unwrap();
    assert_eq!(verified.times().len(), 1);

    // Such a log keeps no time: without a timestamp nobody knows whether the certificate was good.
    let signed = sign();
    let answer = instance.rekor_v2(&signed.request(Rekor::V2).body).to_string();
    assert!(signed.logged(Rekor::V2, answer.as_bytes(), &root).is_err());
    // Somebody else's timestamp, and one over another signature.
    for stamp in [Instance::new().stamp(&sign().stamp_request()), stamp, b"MAA".to_vec()] {
        let signed = sign().stamped(&stamp).unwrap();
        let answer = instance.rekor_v2(&signed.request(Rekor::V2).body).to_string();
        assert!(signed.logged(Rekor::V2, answer.as_bytes(), &root).is_err());
    }
}

#[test]
fn a_managed_keys_envelope_is_entered_in_either_log() {
    let (instance, pair, release) = (Instance::new(), Pair::new(), release("artifact"));
    let root = TrustedRoot::parse(&instance.trusted_root()).unwrap();
    let statement = reproduced(&release, &pair.public());
    let payload = serde_json::to_vec(&statement).unwrap();
    let signature = pair.sign(&pae(IN_TOTO, &payload));
    let envelope = Envelope::new(&payload, &pair.public().id(), &signature);
    for rekor in [Rekor::V1, Rekor::V2] {
        let signed = Signed::with_key(&envelope, None).unwrap();
        let request = signed.request(rekor).body;
        let answer = match rekor {
            Rekor::V1 => instance.rekor(&request),
            Rekor::V2 => instance.rekor_v2(&request),
        };
        let bundle = signed.logged(rekor, answer.to_string().as_bytes(), &root).unwrap();
        let verified = verify_by_anyone(&bundle, &release, Some(&root)).unwrap();
        assert!(*verified.by() == SignedBy::Key(pair.public()) && verified.is_logged());
    }
    let key = key::TestKey::new(7);
    let envelope = key.envelope(&reproduced(&release, &key.public));
    let error = Signed::with_key(&envelope, None).err().unwrap();
    assert!(told(&error).contains("not on P-256"), "{error:?}");
}

#[test]
fn a_statement_by_nobody_yet_gets_the_certificates_name_and_one_by_another_does_not() {
    let (instance, pair) = (Instance::new(), Pair::new());
    let certified = certified(&instance, &pair, &alice());
    let (unsigned, _) = verdict(&pair, UNSIGNED.to_owned());
    let named = certified.in_own_name(&unsigned).unwrap();
    let named: Value = serde_json::from_slice(&named).unwrap();
    assert_eq!(named["predicate"]["verifier"]["id"], alice().name());
    let (own, _) = verdict(&pair, alice().name());
    assert_eq!(certified.in_own_name(&own).unwrap(), own);
    let (other, _) = verdict(&pair, "sigstore:https://token.ci.example#bob".to_owned());
    let error = certified.in_own_name(&other).unwrap_err();
    assert!(matches!(error, Error::SpeaksForAnother { .. }), "{error:?}");
}

#[test]
fn a_statement_without_a_release_at_hand_must_make_sense_in_itself() {
    let (instance, pair) = (Instance::new(), Pair::new());
    let sign = |change: &dyn Fn(&mut Value)| {
        let certified = certified(&instance, &pair, &alice());
        let (payload, _) = verdict(&pair, certified.signer().name());
        let mut value: Value = serde_json::from_slice(&payload).unwrap();
        change(&mut value);
        let payload = value.to_string().into_bytes();
        let signature = pair.sign(&pae(IN_TOTO, &payload));
        certified.signed(&payload, &signature, None).map(drop)
    };
    sign(&|_| {}).unwrap();
    let changes: [&dyn Fn(&mut Value); 4] = [
        &|v| v["predicate"]["verificationResult"] = "FAILED".into(),
        &|v| v["predicate"]["resourceUri"] = "demo/2.0.0/x".into(),
        &|v| v["_type"] = "https://in-toto.io/Statement/v0.1".into(),
        &|v| v["subject"] = json!([]),
    ];
    for change in changes {
        let error = sign(change).unwrap_err();
        assert!(matches!(error, Error::Statement(_)), "{error:?}");
    }
}
