//! The one place where signatures are counted: distinct public keys, never key identifiers.

use std::collections::BTreeSet;

use crate::PublicKey;

/// Why a set of signatures is not enough.
#[derive(Debug, thiserror::Error)]
pub enum NotEnough {
    /// A threshold of zero would let anything pass.
    #[error("a threshold of 0 lets anything pass")]
    Zero,
    /// Fewer distinct authorised keys have signed than are needed.
    #[error("{found} of {needed} needed keys have signed")]
    Below {
        /// Distinct authorised keys with a valid signature.
        found: usize,
        /// The threshold.
        needed: usize,
    },
}

/// A key that can be counted. Two values that stand for one key are equal, whatever they are called.
pub trait Countable: Ord {
    /// Whether this is its signature over exactly `message`.
    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool;
}

impl Countable for PublicKey {
    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verify(message, signature).is_ok()
    }
}

/// Proof that at least `threshold` distinct authorised keys signed one message.
#[derive(Clone, Debug)]
pub struct Quorum<K = PublicKey>(BTreeSet<K>);

impl<K> Quorum<K> {
    /// The keys whose signatures verified.
    pub fn signers(&self) -> impl Iterator<Item = &K> {
        self.0.iter()
    }
}

/// The distinct `authorised` keys with a valid signature over `message`. Others' signatures are ignored.
pub fn signers<'a, K: Countable>(
    message: &[u8],
    authorised: &BTreeSet<K>,
    signatures: impl IntoIterator<Item = (K, &'a [u8])>,
) -> BTreeSet<K> {
    signatures
        .into_iter()
        .filter(|(key, signature)| authorised.contains(key) && key.has_signed(message, signature))
        .map(|(key, _)| key)
        .collect()
}

/// Counts distinct `authorised` keys with a valid signature over `message`.
///
/// # Errors
/// There are fewer than `threshold` of them, or the threshold is zero.
pub fn count<'a, K: Countable>(
    message: &[u8],
    authorised: &BTreeSet<K>,
    threshold: usize,
    signatures: impl IntoIterator<Item = (K, &'a [u8])>,
) -> Result<Quorum<K>, NotEnough> {
    if threshold == 0 {
        return Err(NotEnough::Zero);
    }
    let found = signers(message, authorised, signatures);
    if found.len() < threshold {
        return Err(NotEnough::Below { found: found.len(), needed: threshold });
    }
    Ok(Quorum(found))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    };

    use super::*;

    fn pair(seed: u8) -> (PublicKey, Ed25519KeyPair) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let raw = pair.public_key().as_ref().try_into().unwrap();
        (PublicKey::from_parts([seed; 8], raw), pair)
    }

    #[test]
    fn one_key_under_two_numbers_counts_once() {
        let (alice, secret) = pair(1);
        let twin = PublicKey::from_parts([9; 8], alice.as_bytes().try_into().unwrap());
        let (bob, _) = pair(2);
        let signature = secret.sign(b"m");
        let signatures = [(alice, signature.as_ref()), (twin, signature.as_ref())];
        let authorised = BTreeSet::from([alice, twin, bob]);
        let error = count(b"m", &authorised, 2, signatures).unwrap_err();
        assert!(matches!(error, NotEnough::Below { found: 1, needed: 2 }));
        assert!(matches!(count(b"m", &authorised, 0, signatures), Err(NotEnough::Zero)));
        assert_eq!(count(b"m", &authorised, 1, signatures).unwrap().signers().count(), 1);
        assert!(count(b"other", &authorised, 1, signatures).is_err());
    }

    #[test]
    fn keys_of_both_kinds_count_together_and_each_once() {
        let (alice, secret) = pair(1);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let bob = PublicKey::p256(pair.public_key().as_ref()).unwrap();
        let rng = aws_lc_rs::rand::SystemRandom::new();
        // ECDSA signs anew each time: many valid signatures, one key.
        let [one, two] = [(); 2].map(|()| pair.sign(&rng, b"m").unwrap());
        assert_ne!(one.as_ref(), two.as_ref());
        let ed25519 = secret.sign(b"m");
        let authorised = BTreeSet::from([alice, bob]);
        let twice = [(bob, one.as_ref()), (bob, two.as_ref())];
        assert!(count(b"m", &authorised, 2, twice).is_err());
        let both = [(bob, one.as_ref()), (alice, ed25519.as_ref())];
        assert_eq!(count(b"m", &authorised, 2, both).unwrap().signers().count(), 2);
        let crossed = [(alice, one.as_ref()), (bob, ed25519.as_ref())];
        assert!(count(b"m", &authorised, 1, crossed).is_err());
    }
}
