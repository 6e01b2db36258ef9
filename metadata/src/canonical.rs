//! OLPC canonical JSON: the exact bytes that TUF signatures cover.

use serde::Serialize;

/// A value that has no canonical form (a fraction, or a map whose keys are not text).
#[derive(Debug, thiserror::Error)]
#[error("value has no canonical JSON form")]
pub struct NotCanonical(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The canonical bytes of `value`: keys sorted, no white space, integers only.
///
/// # Errors
/// The value holds a number with a fraction, or is not JSON at all.
pub fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>, NotCanonical> {
    let value = serde_json::to_value(value).map_err(|e| NotCanonical(e.into()))?;
    sigstore_tuf::canonical_json::to_canonical_bytes(&value).map_err(|e| NotCanonical(e.into()))
}
