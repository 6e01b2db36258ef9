//! Policy files: exact names, or none.

use countersign_metadata::sigstore::{Error, Policy};
use serde_json::{Value, json};

use crate::{alice, bytes};

#[test]
fn a_policy_lists_people_by_exact_names() {
    let policy = Policy::parse(&bytes(&json!({ "signers": [alice()] }))).unwrap();
    assert_eq!(policy.signers(), [alice()]);
    assert_eq!(
        alice().name(),
        "sigstore:https://token.ci.example#https://ci.example/alice/rebuild.yml@refs/heads/main"
    );
}

#[test]
fn a_policy_that_would_let_in_anybody_is_refused() {
    let with = |field: &str, value: &str| {
        let mut signer = json!(alice());
        signer[field] = value.into();
        json!({ "signers": [signer] })
    };
    let useless: [Value; 5] = [
        json!({ "signers": [] }),
        json!({ "signers": [alice(), alice()] }),
        with("identity", ""),
        with("issuer", ""),
        with("issuer", "https://token.ci.example#fragment"),
    ];
    for policy in useless {
        let error = Policy::parse(&bytes(&policy)).unwrap_err();
        assert!(matches!(error, Error::BadPolicy(_)), "{policy}: {error:?}");
    }
    for policy in [json!({}), json!({ "signers": [{ "label": "x" }] }), with("pattern", ".*")] {
        let error = Policy::parse(&bytes(&policy)).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{policy}: {error:?}");
    }
}
