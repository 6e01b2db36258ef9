//! What a keyholder shows for a release: an own rebuild, bound to exactly this release, or a signed word that
//! there was none.

use std::collections::BTreeSet;

use countersign_metadata::attestation::{self, VerifiedAttestation, VerifiedVerdict};
use countersign_metadata::dsse::Envelope;
use countersign_metadata::statement::{Outcome, Statement, Summary};
use countersign_metadata::waiver::waiver;
use countersign_metadata::{PublicKey, Release, Sha256};

use crate::Refused;
use crate::review::{Review, Reviewed};
use crate::sign::Rebuilds;

/// What stands behind a signature.
pub(crate) enum Evidence {
    /// The request adds no release.
    NothingToRebuild,
    /// This rebuild.
    Rebuilt(Box<(Envelope, VerifiedVerdict)>),
    /// Nothing: the key is to sign these bytes of a statement, which say so.
    Waived(Vec<u8>),
}

/// What stands behind a signature of the request by `key`.
///
/// # Errors
/// The key has no say, or a release is added and there is no verdict by a key of this keyholder's that exactly its bytes
/// came out of exactly its environment.
pub(crate) fn evidence(
    reviewed: &Reviewed,
    key: &PublicKey,
    rebuilds: &Rebuilds,
) -> Result<Evidence, Refused> {
    if !reviewed.signers.contains(key) {
        return Err(match reviewed.get() {
            Review::Statement(s) => Refused::OtherIdentity(s.speaks_for.to_string()),
            Review::Role(_) => Refused::NotASigner(reviewed.title.clone()),
        });
    }
    let mut own = BTreeSet::from([*key]);
    let verdicts = match rebuilds {
        _ if reviewed.releases().is_empty() => return Ok(Evidence::NothingToRebuild),
        Rebuilds::WithoutRebuild => {
            let message = Sha256::of(&reviewed.message);
            return serde_json::to_vec(&waiver(reviewed.releases(), key, message))
                .map(Evidence::Waived)
                .map_err(|e| Refused::malformed("the waiver", e));
        }
        Rebuilds::Verdicts(verdicts) => verdicts,
        Rebuilds::OfKeyring(verdicts, keyring) => {
            own.extend(keyring);
            verdicts
        }
    };
    match reviewed.releases() {
        [release] => own_rebuild(release, verdicts, &own),
        several => Err(Refused::SeveralReleases(several.len())),
    }
}

/// The one verdict that stands for this keyholder's own rebuild.
fn own_rebuild(
    release: &Release,
    verdicts: &[Vec<u8>],
    own: &BTreeSet<PublicKey>,
) -> Result<Evidence, Refused> {
    let name = release.target_path();
    let mut refused = Refused::NotRebuilt(name.clone());
    for bytes in verdicts {
        match verdict(bytes, release, own) {
            Ok(found) => return Ok(Evidence::Rebuilt(Box::new(found))),
            Err(reason) => refused = Refused::Verdict { release: name.clone(), reason },
        }
    }
    Err(refused)
}

fn verdict(
    bytes: &[u8],
    release: &Release,
    own: &BTreeSet<PublicKey>,
) -> Result<(Envelope, VerifiedVerdict), String> {
    let verified = attestation::verify(bytes, release).map_err(|e| e.to_string())?;
    let VerifiedAttestation::Verdict(verdict) = verified else {
        return Err("it says how something was built, not that it was rebuilt".to_owned());
    };
    if !own.contains(verdict.rebuilder()) {
        return Err(format!("{} signed it, not your key", verdict.rebuilder()));
    }
    match verdict.outcome() {
        Outcome::Reproduced => {}
        Outcome::Divergence { sha256 } => return Err(format!("other bytes came out ({sha256})")),
        Outcome::DidNotBuild { .. } => return Err("it did not build".to_owned()),
    }
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let payload = envelope.verify(verdict.rebuilder()).map_err(|e| e.to_string())?;
    let said: Statement<Summary> = serde_json::from_slice(&payload).map_err(|e| e.to_string())?;
    let environment = said.predicate.countersign.environment;
    if environment != release.environment {
        return Err(format!("it was rebuilt in another environment ({})", environment.sha256));
    }
    Ok((envelope, verdict))
}
