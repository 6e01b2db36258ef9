//! A keyless signature, from token to bundle, with the services of a private instance.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_metadata::dsse::{IN_TOTO, pae};
use countersign_metadata::sigstore::{
    Certified, Error, Policy, SignedBy, Signer, TrustedRoot, Wish, verify_keyless,
};
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
    let signed = certified.signed(&payload, &signature, &release).unwrap();
    let post = signed.request();
    assert_eq!(post.path, "api/v1/log/entries");
    let answer = instance.rekor(&post.body);
    let bundle = signed.logged(&serde_json::to_vec(&answer).unwrap(), &root).unwrap();

    let policy = Policy::new(vec![alice()]).unwrap();
    let verified = verify_keyless(&bundle, &release, &policy, &root).unwrap();
    assert_eq!(*verified.by(), SignedBy::Keyless(alice()));
}

#[test]
fn what_nobody_would_believe_is_not_logged() {
    let (instance, pair, about) = (Instance::new(), Pair::new(), release("artifact"));
    let step = || certified(&instance, &pair, &alice());
    let (payload, signature) = verdict(&pair, alice().name());
    let error = step().signed(&payload, &signature, &release("other")).err().unwrap();
    assert!(matches!(error, Error::Statement(_)), "{error:?}");
    let (_, by_another) = verdict(&Pair::new(), alice().name());
    let error = step().signed(&payload, &by_another, &about).err().unwrap();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    let (payload, signature) = verdict(&pair, "sigstore:https://token.ci.example#bob".to_owned());
    let error = step().signed(&payload, &signature, &about).err().unwrap();
    assert!(matches!(error, Error::SpeaksForAnother { .. }), "{error:?}");
}

#[test]
fn an_answer_that_does_not_verify_becomes_no_bundle() {
    let (instance, pair, release) = (Instance::new(), Pair::new(), release("artifact"));
    let root = TrustedRoot::parse(&instance.trusted_root()).unwrap();
    let (payload, signature) = verdict(&pair, alice().name());
    let signed =
        || certified(&instance, &pair, &alice()).signed(&payload, &signature, &release).unwrap();
    let answers = [
        // Another log's entry, an entry of another time, none, two, and no JSON.
        (Instance::new().rekor(&signed().request().body).to_string(), "does not verify"),
        (
            instance
                .rekor(&signed().request().body)
                .to_string()
                .replace("1767268800", "1767268801"),
            "does not verify",
        ),
        ("{}".to_owned(), "exactly one entry"),
        ("<html>".to_owned(), "malformed"),
    ];
    for (answer, why) in answers {
        let error = signed().logged(answer.as_bytes(), &root).unwrap_err();
        assert!(told(&error).contains(why), "{answer}: {error:?}");
    }
    let elsewhere = TrustedRoot::parse(&Instance::new().trusted_root()).unwrap();
    let answer = instance.rekor(&signed().request().body).to_string();
    assert!(signed().logged(answer.as_bytes(), &elsewhere).is_err());
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
