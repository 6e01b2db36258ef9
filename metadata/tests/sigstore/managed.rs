//! Statements signed with managed keys: with a log entry, and without any evidence.

use countersign_metadata::dsse::{Envelope, IN_TOTO, pae};
use countersign_metadata::sigstore::{
    Error, Policy, SignedBy, TrustedRoot, to_bundle, verify_key_signed, verify_keyless,
};
use serde_json::Value;

use crate::instance::{Instance, Pair};
use crate::key::TestKey;
use crate::{alice, bytes, release, reproduced, told};

fn bare(pair: &Pair, statement: &impl serde::Serialize) -> Envelope {
    let payload = serde_json::to_vec(statement).unwrap();
    Envelope::new(&payload, &pair.public().id(), &pair.sign(&pae(IN_TOTO, &payload)))
}

#[test]
fn a_bundle_without_evidence_is_believed_for_its_signature_alone() {
    let release = release("artifact");
    let (p256, ed25519) = (Pair::new(), TestKey::new(7));
    let signed = [
        (p256.public(), bare(&p256, &reproduced(&release, &p256.public()))),
        (ed25519.public, ed25519.envelope(&reproduced(&release, &ed25519.public))),
    ];
    for (key, envelope) in signed {
        let bundle = to_bundle(&envelope).unwrap();
        let verified = verify_key_signed(&bundle, &release, None).unwrap();
        assert_eq!(*verified.by(), SignedBy::Key(key));
        assert!(!verified.is_logged() && verified.times().is_empty());
    }
}

#[test]
fn a_bundle_signed_with_another_key_than_it_names_is_refused() {
    let release = release("artifact");
    let (one, two) = (Pair::new(), Pair::new());
    let bundle = to_bundle(&bare(&one, &reproduced(&release, &two.public()))).unwrap();
    let error = verify_key_signed(&bundle, &release, None).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    let mut statement = reproduced(&release, &one.public());
    statement.predicate.verifier.id = alice().name();
    let bundle = to_bundle(&bare(&one, &statement)).unwrap();
    let error = verify_key_signed(&bundle, &release, None).unwrap_err();
    assert!(matches!(error, Error::NamesNoKey(_)), "{error:?}");
}

#[test]
fn a_bundle_about_another_release_is_refused() {
    let pair = Pair::new();
    let bundle = to_bundle(&bare(&pair, &reproduced(&release("other"), &pair.public()))).unwrap();
    let error = verify_key_signed(&bundle, &release("artifact"), None).unwrap_err();
    assert!(matches!(error, Error::Statement(_)), "{error:?}");
}

#[test]
fn a_log_entry_must_verify_even_where_the_signature_would_do() {
    let (instance, pair, release) = (Instance::new(), Pair::new(), release("artifact"));
    let good = instance.key_signed(&pair, &reproduced(&release, &pair.public()));
    let root = TrustedRoot::parse(&instance.trusted_root()).unwrap();
    let verified = verify_key_signed(&bytes(&good), &release, Some(&root)).unwrap();
    assert_eq!(*verified.by(), SignedBy::Key(pair.public()));
    assert!(verified.is_logged() && verified.times().len() == 1);

    let error = verify_key_signed(&bytes(&good), &release, None).unwrap_err();
    assert!(matches!(error, Error::NoTrustedRoot), "{error:?}");
    let elsewhere = TrustedRoot::parse(&Instance::new().trusted_root()).unwrap();
    let error = verify_key_signed(&bytes(&good), &release, Some(&elsewhere)).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");

    let other = instance.key_signed(&pair, &reproduced(&crate::release("x"), &pair.public()));
    let mut exchanged = good.clone();
    exchanged["verificationMaterial"] = other["verificationMaterial"].clone();
    let error = verify_key_signed(&bytes(&exchanged), &release, Some(&root)).unwrap_err();
    assert!(told(&error).contains("does not verify"), "{error:?}");

    // A timestamp alone cannot stand in for the log.
    let mut stamped = good.clone();
    stamped["verificationMaterial"]["tlogEntries"] = serde_json::json!([]);
    stamped["verificationMaterial"]["timestampVerificationData"] =
        serde_json::json!({ "rfc3161Timestamps": [{ "signedTimestamp": "MAA=" }] });
    let error = verify_key_signed(&bytes(&stamped), &release, Some(&root)).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

#[test]
fn a_key_is_no_certificate_and_a_certificate_no_key() {
    let (instance, pair, release) = (Instance::new(), Pair::new(), release("artifact"));
    let root = TrustedRoot::parse(&instance.trusted_root()).unwrap();
    let policy = Policy::new(vec![alice()]).unwrap();
    let statement = reproduced(&release, &pair.public());
    let keyed: Value = instance.key_signed(&pair, &statement);
    let keyless: Value = instance.keyless(&alice(), &statement);
    let errors = [
        verify_keyless(&bytes(&keyed), &release, &policy, &root).unwrap_err(),
        verify_key_signed(&bytes(&keyless), &release, Some(&root)).unwrap_err(),
    ];
    assert!(errors.iter().all(|e| matches!(e, Error::Unsupported(_))), "{errors:?}");
}
