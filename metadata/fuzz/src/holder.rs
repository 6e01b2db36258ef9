//! Keys that never change, so that a file in the corpus stays signed by whom it says.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use countersign_metadata::PublicKey;

pub(crate) struct Holder {
    pair: Ed25519KeyPair,
    pub(crate) public: PublicKey,
}

impl Holder {
    /// The pair whose seed is this byte, 32 times.
    pub(crate) fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes");
        let raw = pair.public_key().as_ref().try_into().expect("32 bytes");
        Self { pair, public: PublicKey::from_parts([seed; 8], raw) }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}
