//! What a keyholder says beside a signature, in a statement of its own: that the rebuild behind it was the keyholder's,
//! though another key signed the verdict; or that there was none ([`crate::waiver`]).
//!
//! Both are published beside the release, so that a node can check offline whose signature rests on a rebuild.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dsse::{BadEnvelope, Envelope};
use crate::statement::{Builder, STATEMENT, Statement, identity, identity_key, subject};
use crate::waiver::{WAIVER, Waiver};
use crate::{PublicKey, Release, Sha256};

/// `predicateType` of a vouching statement.
pub const REBUILT: &str = "https://countersign.dev/rebuilt/v1";

/// What it says: I signed this message, and the verdict of this key is about my own rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouch {
    /// Who says so, by [`identity`].
    pub signer: Builder,
    /// Whose verdict it is: the keyholder's other key, by [`identity`].
    pub rebuilder: Builder,
    /// SHA-256 of the role's bytes, which the same key signed.
    pub message: Sha256,
}

/// The word of `signer`, who signs `message`, that the verdict of `rebuilder` about `release` is an own one.
pub fn vouch(
    release: &Release,
    signer: &PublicKey,
    rebuilder: &PublicKey,
    message: Sha256,
) -> Statement<Vouch> {
    let named = |key| Builder { id: identity(key) };
    Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![subject(release)],
        predicate_type: REBUILT.to_owned(),
        predicate: Vouch { signer: named(signer), rebuilder: named(rebuilder), message },
    }
}

/// Checks that `signer` vouches, in this `message`, for exactly this rebuilder and release.
///
/// # Errors
/// It is not signed by `signer`, or says something else.
pub fn verify_vouch(
    envelope: &Envelope,
    signer: &PublicKey,
    rebuilder: &PublicKey,
    message: Sha256,
    release: &Release,
) -> Result<(), BadEnvelope> {
    let payload = envelope.verify(signer)?;
    let found: Statement<Vouch> = serde_json::from_slice(&payload).map_err(malformed)?;
    let wanted = vouch(release, signer, rebuilder, message);
    let same = (&found.kind, &found.predicate_type, &found.subject, &found.predicate)
        == (&wanted.kind, &wanted.predicate_type, &wanted.subject, &wanted.predicate);
    if same { Ok(()) } else { Err(wrong("it is for another signature, release or rebuild key")) }
}

/// A word that was verified: the key that it names has signed it, and it is about this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Signed, and not rebuilt.
    Waived {
        /// Who says so.
        keyholder: PublicKey,
    },
    /// Signed, and rebuilt by the same person with another key.
    Vouched {
        /// Who says so.
        keyholder: PublicKey,
        /// The other key.
        rebuilder: PublicKey,
    },
}

impl Word {
    /// Who says so.
    pub fn keyholder(&self) -> &PublicKey {
        match self {
            Self::Waived { keyholder } | Self::Vouched { keyholder, .. } => keyholder,
        }
    }
}

/// Verifies a published word about `release` with the key that it names itself; whether that key is anybody's is for the
/// caller to judge. The message that it is bound to is not at hand there: it is bound to the release.
///
/// # Errors
/// The signature does not verify, or the statement is about something else.
pub fn read(envelope: &[u8], release: &Release) -> Result<Word, BadEnvelope> {
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(malformed)?;
    let claimed: Statement<Value> =
        serde_json::from_slice(&envelope.claimed_payload()?).map_err(malformed)?;
    let key = |id: &str| identity_key(id).ok_or_else(|| wrong("it names no key"));
    let word = match claimed.predicate_type.as_str() {
        WAIVER => {
            let Waiver { signer, .. } =
                serde_json::from_value(claimed.predicate).map_err(malformed)?;
            Word::Waived { keyholder: key(&signer.id)? }
        }
        REBUILT => {
            let Vouch { signer, rebuilder, .. } =
                serde_json::from_value(claimed.predicate).map_err(malformed)?;
            Word::Vouched { keyholder: key(&signer.id)?, rebuilder: key(&rebuilder.id)? }
        }
        other => return Err(wrong(&format!("predicate type {other:?} is not known"))),
    };
    if claimed.kind != STATEMENT || !claimed.subject.contains(&subject(release)) {
        return Err(wrong("it is about another artifact"));
    }
    // The payload that was looked into above is the one that is signed.
    envelope.verify(word.keyholder())?;
    Ok(word)
}

fn malformed(error: serde_json::Error) -> BadEnvelope {
    BadEnvelope::Statement(error.to_string())
}

fn wrong(reason: &str) -> BadEnvelope {
    BadEnvelope::Statement(reason.to_owned())
}
