//! A key for one signature: made here, gone with the process, never written anywhere.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use countersign_metadata::PublicKey;

/// The system gives no random bytes, or a key that cannot be used.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this machine cannot make a P-256 key or sign with it")]
pub struct NoKey;

/// A P-256 key pair without `Debug`, `Clone` or a way to disk. AWS-LC clears what it frees.
pub struct Ephemeral {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl Ephemeral {
    /// A fresh one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> Result<Self, NoKey> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| NoKey)?;
        let public = PublicKey::p256(pair.public_key().as_ref()).map_err(|_| NoKey)?;
        Ok(Self { pair, public })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// A signature over exactly `message`, as DER.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoKey> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| NoKey)?;
        Ok(signature.as_ref().to_vec())
    }
}
