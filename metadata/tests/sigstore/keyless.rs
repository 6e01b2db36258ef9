//! Keyless statements: believed from those whom the policy lists, refused with any part missing or exchanged.

use countersign_metadata::attestation::Says;
use countersign_metadata::sigstore::{
    Error, Policy, SignedBy, Signer, TrustedRoot, VerifiedStatement, claimed_path, verify_keyless,
};
use countersign_metadata::statement::{Outcome, Statement, Summary};
use countersign_metadata::{Release, Sha256};
use serde_json::{Value, json};

use crate::instance::{Instance, SIGNED_AT};
use crate::{alice, bytes, key, release, reproduced, told};

/// Alice's verdict about `release`, in her own name.
fn statement(release: &Release) -> Statement<Summary> {
    let mut statement = reproduced(release, &key::TestKey::new(1).public);
    statement.predicate.verifier.id = alice().name();
    statement
}

fn verify(instance: &Instance, bundle: &Value) -> Result<VerifiedStatement, Error> {
    let root = TrustedRoot::parse(&instance.trusted_root()).unwrap();
    let policy = Policy::new(vec![alice()]).unwrap();
    verify_keyless(&bytes(bundle), &release("artifact"), &policy, &root)
}

#[track_caller]
fn refused(instance: &Instance, bundle: &Value, why: &str) {
    let error = told(&verify(instance, bundle).unwrap_err());
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_verdict_by_a_listed_signer_of_a_private_instance_is_believed() {
    let instance = Instance::new();
    let bundle = instance.keyless(&alice(), &statement(&release("artifact")));
    let verified = verify(&instance, &bundle).unwrap();
    assert_eq!(*verified.by(), SignedBy::Keyless(alice()));
    assert_eq!(verified.times().iter().map(|t| t.as_second()).collect::<Vec<_>>(), [SIGNED_AT]);
    assert!(verified.is_logged());
    let Says::Verdict { rebuild, .. } = verified.says() else { panic!("not a verdict") };
    assert_eq!(rebuild.outcome, Outcome::Reproduced);
}

#[test]
fn a_bundle_tells_which_release_to_verify_it_with() {
    let instance = Instance::new();
    let mut statement = statement(&release("artifact"));
    let bundle = bytes(&instance.keyless(&alice(), &statement));
    assert_eq!(claimed_path(&bundle).unwrap(), release("artifact").target_path());
    statement.subject.push(statement.subject[0].clone());
    assert!(claimed_path(&bytes(&instance.keyless(&alice(), &statement))).is_err());
}

#[test]
fn an_identity_is_compared_whole_and_with_its_issuer() {
    let instance = Instance::new();
    let others = [
        Signer { identity: format!("{}2", alice().identity), ..alice() },
        Signer { identity: alice().identity[..20].to_owned(), ..alice() },
        Signer { identity: alice().identity.to_uppercase(), ..alice() },
        Signer { identity: "alice@ci.example".to_owned(), ..alice() },
        Signer { issuer: "https://token.ci.example.evil.example".to_owned(), ..alice() },
        Signer { issuer: "https://token.ci.example/".to_owned(), ..alice() },
    ];
    for other in others {
        let bundle = instance.keyless(&other, &statement(&release("artifact")));
        let error = verify(&instance, &bundle).unwrap_err();
        assert!(matches!(error, Error::Unlisted { .. }), "{other:?}: {error:?}");
    }
}

#[test]
fn a_statement_that_speaks_for_another_is_refused() {
    let instance = Instance::new();
    let mut statement = statement(&release("artifact"));
    statement.predicate.verifier.id = "sigstore:https://token.ci.example#bob".to_owned();
    let error = verify(&instance, &instance.keyless(&alice(), &statement)).unwrap_err();
    assert!(matches!(error, Error::SpeaksForAnother { .. }), "{error:?}");
}

#[test]
fn what_is_signed_must_be_about_this_release_in_subject_and_predicate() {
    let instance = Instance::new();
    let sign = |change: &dyn Fn(&mut Statement<Summary>)| {
        let mut statement = statement(&release("artifact"));
        change(&mut statement);
        instance.keyless(&alice(), &statement)
    };
    let other = Sha256::of(b"other");
    refused(&instance, &sign(&|s| s.subject[0].digest.sha256 = other), "does not match");
    refused(
        &instance,
        &sign(&|s| s.subject[0].name = "demo/2.0.0/x".to_owned()),
        "another artifact",
    );
    refused(&instance, &sign(&|s| s.subject.push(s.subject[0].clone())), "another artifact");
    refused(&instance, &sign(&|s| s.kind = "https://in-toto.io/Statement/v0.1".to_owned()), "v1");
    refused(&instance, &sign(&|s| s.predicate.countersign.recipe = other), "another recipe");
    refused(&instance, &sign(&|s| s.predicate.countersign.lock = other), "another recipe");
    refused(&instance, &sign(&|s| s.predicate.countersign.source = other), "another recipe");
    refused(&instance, &sign(&|s| s.predicate.resource_uri = "demo/2".to_owned()), "resource");
    refused(&instance, &sign(&|s| s.predicate.policy.uri = "any".to_owned()), "policy \"any\"");
    let failed = sign(&|s| {
        s.predicate.countersign.outcome = Outcome::Divergence { sha256: other };
    });
    refused(&instance, &failed, "disagree");
    let unknown = sign(&|s| s.predicate_type = "https://example.com/any/v1".to_owned());
    refused(&instance, &unknown, "is not known");
}

#[test]
fn provenance_must_be_about_this_release_too() {
    let instance = Instance::new();
    let release = release("artifact");
    let good = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": release.target_path(), "digest": { "sha256": release.artifact.sha256 } }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://countersign.dev/build/v1",
                "externalParameters": {
                    "product": "demo", "version": "1.0.0", "platform": "linux-x86_64",
                    "recipe": release.recipe, "lock": release.lock,
                },
                "resolvedDependencies": [
                    { "name": "source", "digest": { "sha256": release.source.sha256 } },
                ],
            },
            "runDetails": {
                "builder": { "id": alice().name() },
                "metadata": {
                    "startedOn": "2026-01-01T11:00:00Z", "finishedOn": "2026-01-01T11:30:00Z",
                },
            },
        },
    });
    let verified = verify(&instance, &instance.keyless(&alice(), &good)).unwrap();
    assert!(matches!(verified.says(), Says::Provenance(_)));

    let definition = "/predicate/buildDefinition";
    let exchanged = [
        ("/buildType", json!("https://example.com/ci/v1"), "build type"),
        ("/externalParameters/version", json!("2.0.0"), "another product, version"),
        ("/externalParameters/recipe", json!(Sha256::of(b"other")), "another product, version"),
        ("/resolvedDependencies/0/digest/sha256", json!(Sha256::of(b"other")), "another source"),
    ];
    for (at, value, why) in exchanged {
        let mut bad = good.clone();
        *bad.pointer_mut(&format!("{definition}{at}")).unwrap() = value;
        refused(&instance, &instance.keyless(&alice(), &bad), why);
    }
}

#[test]
fn another_instance_does_not_vouch() {
    let bundle = Instance::new().keyless(&alice(), &statement(&release("artifact")));
    refused(&Instance::new(), &bundle, "does not verify");
}

#[test]
fn evidence_of_another_bundle_missing_evidence_and_old_bundles_are_refused() {
    let instance = Instance::new();
    let good = instance.keyless(&alice(), &statement(&release("artifact")));
    let other = instance.keyless(&alice(), &statement(&release("other")));
    let entry = "/verificationMaterial/tlogEntries/0";
    let changes: [(&str, Value, &str); 10] = [
        ("/verificationMaterial/tlogEntries", json!([]), "does not verify"),
        (entry, other.pointer(entry).unwrap().clone(), "does not verify"),
        (
            "/verificationMaterial/certificate",
            other["verificationMaterial"]["certificate"].clone(),
            "does not verify",
        ),
        ("/dsseEnvelope", other["dsseEnvelope"].clone(), "does not verify"),
        (
            "/dsseEnvelope/signatures/0/sig",
            other["dsseEnvelope"]["signatures"][0]["sig"].clone(),
            "does not verify",
        ),
        ("/verificationMaterial/tlogEntries/0/inclusionProof", Value::Null, "not supported"),
        (
            "/verificationMaterial/tlogEntries/0/integratedTime",
            json!("1767268801"),
            "does not verify",
        ),
        ("/verificationMaterial/tlogEntries/0/inclusionPromise", Value::Null, "does not verify"),
        (
            "/mediaType",
            json!("application/vnd.dev.sigstore.bundle+json;version=0.2"),
            "version=0.2 is not supported",
        ),
        ("/dsseEnvelope/payloadType", json!("text/plain"), "text/plain"),
    ];
    for (at, value, why) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap() = value;
        refused(&instance, &bad, why);
    }
    let mut two = good.clone();
    let entries = two["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap();
    entries.push(entries[0].clone());
    refused(&instance, &two, "more than one log entry");
    let mut signatures = good.clone();
    let list = signatures["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
    list.push(list[0].clone());
    refused(&instance, &signatures, "exactly one signature");
}

#[test]
fn too_much_is_not_read() {
    let instance = Instance::new();
    let mut bundle = instance.keyless(&alice(), &statement(&release("artifact")));
    let entries = bundle["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap();
    entries.extend(vec![entries[0].clone(); 8]);
    let error = verify(&instance, &bundle).unwrap_err();
    assert!(matches!(error, Error::TooMuchEvidence(9)), "{error:?}");
    bundle["padding"] = json!(" ".repeat(1 << 20));
    let error = verify(&instance, &bundle).unwrap_err();
    assert!(matches!(error, Error::TooLong { what: "bundle", .. }), "{error:?}");
    let long = [instance.trusted_root(), vec![b' '; 1 << 20]].concat();
    let error = TrustedRoot::parse(&long).err().unwrap();
    assert!(matches!(error, Error::TooLong { what: "trusted root", .. }), "{error:?}");
}
