//! Repositories that other programs make: RSA keys count there, and nowhere else.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_metadata::trust::{Kept, KeyKinds, Trust, TrustError};
use countersign_metadata::{Sha256, canonical};
use serde_json::{Value, json};

use crate::simulator::{Simulator, now};

fn rsa() -> (KeyPair, Value) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let body = STANDARD.encode(pair.public_key().as_der().unwrap().as_ref());
    let public = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    let key = json!({
        "keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": { "public": public },
    });
    (pair, key)
}

/// A root that needs three keys, of which one is RSA and goes by these identifiers.
fn root(simulator: &mut Simulator, names: &[&str]) -> Vec<u8> {
    let (pair, key) = rsa();
    let root = &mut simulator.root.signed;
    root["roles"]["root"]["threshold"] = 3.into();
    let mut keyids = root["roles"]["root"]["keyids"].as_array().unwrap()[..2].to_vec();
    for name in names {
        root["keys"][*name] = key.clone();
        keyids.push((*name).into());
    }
    root["roles"]["root"]["keyids"] = keyids.into();
    let mut file: Value = serde_json::from_slice(&simulator.root.bytes()).unwrap();
    let message = canonical::to_bytes(&file["signed"]).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    let rng = aws_lc_rs::rand::SystemRandom::new();
    for name in names {
        pair.sign(&RSA_PSS_SHA256, &rng, &message, &mut signature).unwrap();
        let signature = json!({ "keyid": name, "sig": hex::encode(&signature) });
        file["signatures"].as_array_mut().unwrap().push(signature);
    }
    serde_json::to_vec(&file).unwrap()
}

#[test]
fn an_rsa_key_counts_where_it_is_asked_for_and_is_nobodys_in_our_own_repositories() {
    let mut simulator = Simulator::new();
    let root = root(&mut simulator, &["rsa"]);
    let mut trust = Trust::from_root_with(&root, KeyKinds::AlsoRsa).unwrap();
    trust.refresh(now(), &mut simulator).unwrap();
    let again = Trust::restore_with(&root, &trust.kept(), KeyKinds::AlsoRsa, now()).unwrap();
    assert_eq!(again.roles(), trust.roles());
    for refused in [Trust::from_root(&root), Trust::restore(&root, &Kept::new(), now())] {
        let error = refused.unwrap_err();
        assert!(
            matches!(&error, TrustError::TooFewKeys { role, distinct: 2, threshold: 3 } if role == "root"),
            "{error:?}"
        );
    }
}

#[test]
fn an_rsa_key_repeated_under_two_ids_counts_once() {
    let mut simulator = Simulator::new();
    simulator.root.signers.truncate(1);
    let twin = Sha256::of(b"twin").to_string();
    let root = root(&mut simulator, &["rsa", &twin]);
    let error = Trust::from_root_with(&root, KeyKinds::AlsoRsa).unwrap_err();
    assert!(
        matches!(error, TrustError::NotEnoughSignatures { found: 2, needed: 3, .. }),
        "{error:?}"
    );
}
