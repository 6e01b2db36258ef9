//! The act of signing: only what was reviewed, only by a key that has a say, and a release only when rebuilt.

use std::collections::BTreeSet;

use countersign_metadata::attestation::VerifiedVerdict;
use countersign_metadata::dsse::{self, Envelope};
use countersign_metadata::request::{Bytes, FORMAT, RequestSubject, Signature, SigningRequest};
use countersign_metadata::word::vouch;
use countersign_metadata::{PublicKey, Sha256};

use crate::pin::PinnedRoot;
use crate::rebuilt::{Evidence, evidence};
use crate::review::{Reviewed, review};
use crate::{Refused, SecretKey, minisig};

/// What a keyholder has to show for the releases in a request.
pub enum Rebuilds {
    /// Verdicts about own rebuilds, by the key that signs: DSSE envelopes as files.
    Verdicts(Vec<Vec<u8>>),
    /// The same, by the key that signs or by another of the keyholder's own: one key, one purpose.
    OfKeyring(Vec<Vec<u8>>, BTreeSet<PublicKey>),
    /// Nothing: a second signature, over a waiver, says so.
    WithoutRebuild,
}

/// A signature just made.
pub struct Signed {
    /// The answer to the request.
    pub signature: Signature,
    /// The own rebuild that it rests on, if the request adds a release and it was rebuilt.
    pub rebuilt: Option<VerifiedVerdict>,
    /// For a first root: what to pin from now on.
    pub pin: Option<PinnedRoot>,
}

/// Signs a reviewed request.
///
/// # Errors
/// The key is not one of the role's, or the statement speaks for another; a release is added and `rebuilds` holds
/// no verdict by a key of this keyholder's that exactly its bytes came out; or the key does not sign.
pub fn sign(reviewed: &Reviewed, key: &SecretKey, rebuilds: &Rebuilds) -> Result<Signed, Refused> {
    let evidence = evidence(reviewed, key.public(), rebuilds)?;
    let bytes = key.sign_bytes(&reviewed.message)?;
    let word = |payload: &[u8]| -> Result<Envelope, Refused> {
        let raw = key.sign_bytes(&dsse::pae(dsse::IN_TOTO, payload))?;
        Ok(Envelope::new(payload, &key.public().id(), &raw))
    };
    let (mut waiver, mut vouched) = (None, None);
    match &evidence {
        Evidence::Waived(payload) => waiver = Some(word(payload)?),
        Evidence::Rebuilt(found) => {
            // Readers cannot know that the other key is this keyholder's unless this key says so.
            let (by, releases) = (found.1.rebuilder(), reviewed.releases());
            if let ([release], true) = (releases, by != key.public()) {
                let message = Sha256::of(&reviewed.message);
                let said = vouch(release, key.public(), by, message);
                let said = serde_json::to_vec(&said);
                vouched = Some(word(&said.map_err(|e| Refused::malformed("the vouch", e))?)?);
            }
        }
        Evidence::NothingToRebuild => {}
    }
    let what = format!("countersign: {}", reviewed.title);
    let minisig = minisig::text(key, &bytes, &what)?;
    let made = Made { bytes, minisig, waiver, vouched };
    answer(reviewed, key.public(), key.label(), evidence, made)
}

/// What a key made.
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) minisig: Option<String>,
    pub(crate) waiver: Option<Envelope>,
    pub(crate) vouched: Option<Envelope>,
}

/// The answer to a request, however its signature came about.
pub(crate) fn answer(
    reviewed: &Reviewed,
    key: &PublicKey,
    label: &str,
    evidence: Evidence,
    made: Made,
) -> Result<Signed, Refused> {
    let pin = reviewed
        .first_root
        .then(|| PinnedRoot::own(key, &reviewed.message, &made.bytes))
        .transpose()
        .map_err(|e| Refused::malformed("the root", e))?;
    let (envelope, rebuilt) = match evidence {
        Evidence::Rebuilt(found) => Some(*found).unzip(),
        _ => (None, None),
    };
    let signature = Signature {
        format: FORMAT,
        message: Sha256::of(&reviewed.message),
        key: *key,
        label: label.to_owned(),
        signature: made.bytes,
        minisig: made.minisig,
        rebuilt: envelope,
        waiver: made.waiver,
        vouched: made.vouched,
    };
    Ok(Signed { signature, rebuilt, pin })
}

/// Explains an in-toto statement that is to be signed in its own right.
///
/// # Errors
/// It is malformed or of an unknown type.
pub fn statement(payload: &[u8]) -> Result<Reviewed, Refused> {
    let payload = Bytes(payload.to_vec());
    let subject = RequestSubject::Statement { payload };
    review(&SigningRequest { format: FORMAT, subject }, None)
}

/// Signs an in-toto statement, and puts both into a DSSE envelope.
///
/// # Errors
/// The statement is malformed, of an unknown type, or speaks for another key; or the key does not sign.
pub fn attest(payload: &[u8], key: &SecretKey) -> Result<Envelope, Refused> {
    let signed = sign(&statement(payload)?, key, &Rebuilds::Verdicts(Vec::new()))?;
    Ok(Envelope::new(payload, &key.public().id(), &signed.signature.signature))
}
