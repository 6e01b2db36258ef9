//! The act of signing: only what was reviewed, only by a key that has a say, and a release only when rebuilt.

use countersign_metadata::attestation::{self, VerifiedAttestation, VerifiedVerdict};
use countersign_metadata::dsse::Envelope;
use countersign_metadata::request::{Bytes, FORMAT, RequestSubject, Signature, SigningRequest};
use countersign_metadata::statement::Outcome;
use countersign_metadata::{Release, Sha256};

use crate::pin::PinnedRoot;
use crate::review::{Review, Reviewed, review};
use crate::{Refused, SecretKey, minisig};

/// What a keyholder has to show for the releases in a request.
pub enum Rebuilds {
    /// Verdicts about own rebuilds: DSSE envelopes as files.
    Verdicts(Vec<Vec<u8>>),
    /// Nothing: the signature says only that the keyholder read the request.
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
/// no verdict by this very key that exactly its bytes came out.
pub fn sign(reviewed: &Reviewed, key: &SecretKey, rebuilds: &Rebuilds) -> Result<Signed, Refused> {
    if !reviewed.signers.contains(key.public()) {
        return Err(match reviewed.get() {
            Review::Statement(s) => Refused::OtherIdentity(s.speaks_for.to_string()),
            Review::Role(_) => Refused::NotASigner(reviewed.title.clone()),
        });
    }
    let rebuilt = match rebuilds {
        Rebuilds::WithoutRebuild => None,
        Rebuilds::Verdicts(verdicts) => own_rebuild(&reviewed.releases, verdicts, key)?,
    };
    let raw = key.sign_bytes(&reviewed.message);
    let pin = reviewed
        .first_root
        .then(|| PinnedRoot::own(key, &reviewed.message, &raw))
        .transpose()
        .map_err(|e| Refused::malformed("the root", e))?;
    let (envelope, rebuilt) = rebuilt.unzip();
    let what = format!("countersign: {}", reviewed.title);
    let signature = Signature {
        format: FORMAT,
        message: Sha256::of(&reviewed.message),
        key: *key.public(),
        label: key.label().to_owned(),
        signature: raw.to_vec(),
        minisig: Some(minisig::text(key, &raw, &what)),
        rebuilt: envelope,
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
/// The statement is malformed, of an unknown type, or speaks for another key.
pub fn attest(payload: &[u8], key: &SecretKey) -> Result<Envelope, Refused> {
    let signed = sign(&statement(payload)?, key, &Rebuilds::Verdicts(Vec::new()))?;
    Ok(Envelope::new(payload, &key.public().id(), &signed.signature.signature))
}

/// The one verdict that stands for this keyholder's own rebuild of what the request adds.
fn own_rebuild(
    releases: &[Release],
    verdicts: &[Vec<u8>],
    key: &SecretKey,
) -> Result<Option<(Envelope, VerifiedVerdict)>, Refused> {
    let release = match releases {
        [] => return Ok(None),
        [release] => release,
        several => return Err(Refused::SeveralReleases(several.len())),
    };
    let name = release.target_path();
    let mut refused = Refused::NotRebuilt(name.clone());
    for bytes in verdicts {
        match verdict(bytes, release, key) {
            Ok(found) => return Ok(Some(found)),
            Err(reason) => refused = Refused::Verdict { release: name.clone(), reason },
        }
    }
    Err(refused)
}

fn verdict(
    bytes: &[u8],
    release: &Release,
    key: &SecretKey,
) -> Result<(Envelope, VerifiedVerdict), String> {
    let verified = attestation::verify(bytes, release).map_err(|e| e.to_string())?;
    let VerifiedAttestation::Verdict(verdict) = verified else {
        return Err("it says how something was built, not that it was rebuilt".to_owned());
    };
    if verdict.rebuilder() != key.public() {
        return Err(format!("{} signed it, not your key", verdict.rebuilder()));
    }
    match verdict.outcome() {
        Outcome::Reproduced => {}
        Outcome::Divergence { sha256 } => return Err(format!("other bytes came out ({sha256})")),
        Outcome::DidNotBuild { .. } => return Err("it did not build".to_owned()),
    }
    let envelope = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok((envelope, verdict))
}
