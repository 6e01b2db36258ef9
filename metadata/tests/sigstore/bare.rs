//! Bare DSSE files and bundles: the same signature, either way.

use countersign_metadata::attestation;
use countersign_metadata::sigstore::{Error, from_bundle, to_bundle};
use serde_json::{Value, json};

use crate::instance::{Instance, Pair};
use crate::key::TestKey;
use crate::{alice, bytes, release, reproduced};

#[test]
fn a_bare_envelope_goes_into_a_bundle_and_comes_out_the_same() {
    let (key, release) = (TestKey::new(7), release("artifact"));
    let envelope = key.envelope(&reproduced(&release, &key.public));
    let bundle = to_bundle(&envelope).unwrap();
    let read: Value = serde_json::from_slice(&bundle).unwrap();
    let hint = json!({ "publicKey": { "hint": key.public.id() } });
    assert_eq!(read["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
    assert_eq!(read["verificationMaterial"], hint);

    let back = serde_json::to_vec(&from_bundle(&bundle).unwrap()).unwrap();
    assert_eq!(back, serde_json::to_vec(&envelope).unwrap());
    attestation::verify(&back, &release).unwrap();
}

#[test]
fn an_envelope_that_a_bundle_cannot_hold_stays_bare() {
    let (key, release) = (TestKey::new(7), release("artifact"));
    let good = key.envelope(&reproduced(&release, &key.public));
    let mut two = good.clone();
    two.signatures.push(good.signatures[0].clone());
    let mut none = good.clone();
    none.signatures.clear();
    let mut typed = good;
    typed.payload_type = "text/plain".to_owned();
    for envelope in [two, none, typed] {
        assert!(to_bundle(&envelope).is_err(), "{envelope:?}");
    }
}

#[test]
fn a_bundle_that_would_lose_its_evidence_stays_a_bundle() {
    let (instance, pair, release) = (Instance::new(), Pair::new(), release("artifact"));
    let statement = reproduced(&release, &pair.public());
    let logged = instance.key_signed(&pair, &statement);
    let error = from_bundle(&bytes(&logged)).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
    let keyless = instance.keyless(&alice(), &statement);
    assert!(from_bundle(&bytes(&keyless)).is_err());
    let mut stamped = logged.clone();
    stamped["verificationMaterial"]["tlogEntries"] = json!([]);
    from_bundle(&bytes(&stamped)).unwrap();
    stamped["verificationMaterial"]["timestampVerificationData"] =
        json!({ "rfc3161Timestamps": [{ "signedTimestamp": "MAA=" }] });
    assert!(from_bundle(&bytes(&stamped)).is_err());
}
