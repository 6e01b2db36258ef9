//! Keys made in the test, and answers to signing requests as `countersign-keys` gives them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_metadata::dsse::{self, Envelope};
use countersign_metadata::request::{FORMAT, Signature, SigningRequest};
use countersign_metadata::{PublicKey, Sha256};

/// An Ed25519 key pair.
pub(crate) struct TestKey {
    pair: Ed25519KeyPair,
    pub(crate) public: PublicKey,
}

impl TestKey {
    /// Always the same pair for the same seed.
    pub(crate) fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let raw = pair.public_key().as_ref().try_into().unwrap();
        Self { pair, public: PublicKey::from_parts([seed; 8], raw) }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    /// The text of a minisign public key file.
    pub(crate) fn public_file(&self) -> String {
        format!("untrusted comment: a key made in a test\n{}\n", self.public)
    }

    /// The text of a stock `.minisig` file.
    pub(crate) fn minisig(&self, message: &[u8]) -> String {
        let signature = self.sign(message);
        let line = [b"Ed".as_slice(), &self.public.number(), &signature].concat();
        let comment = "signed in a test";
        let global = self.sign(&[signature.as_slice(), comment.as_bytes()].concat());
        let (line, global) = (STANDARD.encode(line), STANDARD.encode(global));
        format!("untrusted comment: a test\n{line}\ntrusted comment: {comment}\n{global}\n")
    }

    /// What the signer protocol answers.
    pub(crate) fn answer(&self, request: &SigningRequest, label: &str) -> Signature {
        let message = request.message();
        Signature {
            format: FORMAT,
            message: Sha256::of(&message),
            key: self.public,
            label: label.to_owned(),
            signature: self.sign(&message),
            minisig: Some(self.minisig(&message)),
            rebuilt: None,
            waiver: None,
            vouched: None,
        }
    }

    /// A signed statement.
    pub(crate) fn envelope(&self, statement: &impl serde::Serialize) -> Envelope {
        let payload = serde_json::to_vec(statement).unwrap();
        let signature = self.sign(&dsse::pae(dsse::IN_TOTO, &payload));
        Envelope::new(&payload, &self.public.id(), &signature)
    }
}
