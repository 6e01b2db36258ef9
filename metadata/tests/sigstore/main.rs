//! Statements in Sigstore bundles, signed by a private instance that the tests make themselves.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "shared with other tests, which need more of it")]
#[path = "../common/key.rs"]
mod key;

mod bare;
mod der;
mod instance;
mod keyless;
mod managed;
mod policy;
mod signing;

use countersign_metadata::release::{Blob, Environment, EnvironmentKind, Input};
use countersign_metadata::sigstore::{Error, Signer};
use countersign_metadata::statement::{Outcome, Statement, Summary, verdict};
use countersign_metadata::{PublicKey, Release, Sha256};
use serde_json::Value;

fn release(artifact: &str) -> Release {
    let blob = |bytes: &[u8]| Blob { sha256: Sha256::of(bytes), length: bytes.len() as u64 };
    Release {
        format: 1,
        product: "demo".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        platform: "linux-x86_64".parse().unwrap(),
        artifact: blob(artifact.as_bytes()),
        source: blob(b"source"),
        recipe: Sha256::of(b"recipe"),
        lock: Sha256::of(b"lock"),
        environment: Environment { kind: EnvironmentKind::Host, sha256: Sha256::of(b"env") },
        inputs: vec![Input { name: "source".to_owned(), blob: blob(b"source") }],
        node: None,
        follows: None,
        protocol: None,
        urgency: Default::default(),
        revokes: Default::default(),
        actions: Default::default(),
        notes: String::new(),
    }
}

/// That `key` reproduced `release`.
fn reproduced(release: &Release, key: &PublicKey) -> Statement<Summary> {
    let now = "2026-01-01T12:00:00Z".parse().unwrap();
    verdict(release, key, now, release.environment.clone(), Outcome::Reproduced)
}

fn alice() -> Signer {
    Signer {
        label: "Alice's rebuilder".to_owned(),
        identity: "https://ci.example/alice/rebuild.yml@refs/heads/main".to_owned(),
        issuer: "https://token.ci.example".to_owned(),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// An error with its causes, as a program would tell them.
fn told(error: &Error) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        told += &format!(": {error}");
        cause = error.source();
    }
    told
}
