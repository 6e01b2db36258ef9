//! Signatures made elsewhere: the exact bytes go out to a stock tool, its signature comes back and is verified.
//!
//! The secret key never meets this program; its public half stands in for it.

use countersign_metadata::PublicKey;
use countersign_metadata::dsse::{self, Envelope};

use crate::Refused;
use crate::raw::RawSignature;
use crate::rebuilt::{Evidence, evidence};
use crate::review::Reviewed;
use crate::sign::{Made, Rebuilds, Signed, answer};

/// The exact bytes that a stock tool has to sign.
pub fn message(reviewed: &Reviewed) -> &[u8] {
    &reviewed.message
}

/// The exact bytes of the waiver that goes with a signature by `key` of a release that was not rebuilt; always the
/// same for the same request and key.
///
/// # Errors
/// The key has no say in the request.
pub fn waiver_message(reviewed: &Reviewed, key: &PublicKey) -> Result<Option<Vec<u8>>, Refused> {
    match evidence(reviewed, key, &Rebuilds::WithoutRebuild)? {
        Evidence::Waived(payload) => Ok(Some(dsse::pae(dsse::IN_TOTO, &payload))),
        _ => Ok(None),
    }
}

/// Takes in a signature by `key` in the form of a stock tool; `waiver`: one over [`waiver_message`].
///
/// # Errors
/// It does not verify, the key has no say, or the release was neither rebuilt nor waived.
pub fn import(
    reviewed: &Reviewed,
    key: &PublicKey,
    label: &str,
    file: &[u8],
    waiver: Option<&[u8]>,
    rebuilds: &Rebuilds,
) -> Result<Signed, Refused> {
    let evidence = evidence(reviewed, key, rebuilds)?;
    let RawSignature { bytes, minisig } = RawSignature::verify(file, key, &reviewed.message)?;
    let waiver = match &evidence {
        Evidence::Waived(payload) => {
            let raw = waiver.ok_or(Refused::NotWaived)?;
            let raw = RawSignature::verify(raw, key, &dsse::pae(dsse::IN_TOTO, payload))?;
            Some(Envelope::new(payload, &key.id(), &raw.bytes))
        }
        _ => None,
    };
    answer(reviewed, key, label, evidence, Made { bytes, minisig, waiver, vouched: None })
}
