//! A keyholder's own signed word that a release was signed without a rebuild.
//!
//! The role's signature cannot say it, because every keyholder signs the same bytes. So whoever signs
//! `--without-rebuild` signs a second message: an in-toto statement about the releases, bound to the first by its digest.

use serde::{Deserialize, Serialize};

use crate::dsse::{BadEnvelope, Envelope};
use crate::statement::{Builder, STATEMENT, Statement, identity, subject};
use crate::{PublicKey, Release, Sha256};

/// `predicateType` of a waiver.
pub const WAIVER: &str = "https://countersign.dev/without-rebuild/v1";

/// What a waiver says: I signed this message, and did not rebuild what it releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// Who says so, by [`identity`].
    pub signer: Builder,
    /// SHA-256 of the role's bytes, which the same key signed.
    pub message: Sha256,
}

/// The waiver of `signer`, who signs `message` and has not rebuilt `releases`.
pub fn waiver(releases: &[Release], signer: &PublicKey, message: Sha256) -> Statement<Waiver> {
    Statement {
        kind: STATEMENT.to_owned(),
        subject: releases.iter().map(subject).collect(),
        predicate_type: WAIVER.to_owned(),
        predicate: Waiver { signer: Builder { id: identity(signer) }, message },
    }
}

/// Checks that `signer` says of exactly these `releases`, in this `message`, that they were not rebuilt.
///
/// # Errors
/// It is not signed by `signer`, or says something else.
pub fn verify(
    envelope: &Envelope,
    signer: &PublicKey,
    message: Sha256,
    releases: &[Release],
) -> Result<(), BadEnvelope> {
    let payload = envelope.verify(signer)?;
    let found: Statement<Waiver> =
        serde_json::from_slice(&payload).map_err(|e| BadEnvelope::Statement(e.to_string()))?;
    let wanted = waiver(releases, signer, message);
    let same = (&found.kind, &found.predicate_type, &found.subject, &found.predicate)
        == (&wanted.kind, &wanted.predicate_type, &wanted.subject, &wanted.predicate);
    if same {
        Ok(())
    } else {
        Err(BadEnvelope::Statement("the waiver is for another signature or release".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;
    use crate::dsse::{IN_TOTO, pae};

    #[test]
    fn a_waiver_counts_for_its_signer_and_message_alone() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let key = PublicKey::ed25519(pair.public_key().as_ref().try_into().unwrap());
        let message = Sha256::of(b"message");
        let payload = serde_json::to_vec(&waiver(&[], &key, message)).unwrap();
        let envelope =
            Envelope::new(&payload, &key.id(), pair.sign(&pae(IN_TOTO, &payload)).as_ref());
        verify(&envelope, &key, message, &[]).unwrap();
        assert!(verify(&envelope, &key, Sha256::of(b"another"), &[]).is_err());
        assert!(verify(&envelope, &PublicKey::ed25519([7; 32]), message, &[]).is_err());
    }
}
