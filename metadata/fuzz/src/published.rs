//! TUF files of whatever content, signed by known keys.

use countersign_metadata::canonical;
use serde_json::{Value, json};

use crate::holder::Holder;

/// A TUF file around a `signed` object, signed by all. What is no such object stays as it is.
pub(crate) fn published(signed: &[u8], by: &[Holder]) -> Vec<u8> {
    let Ok(signed) = serde_json::from_slice::<Value>(signed) else { return signed.to_vec() };
    let Ok(message) = canonical::to_bytes(&signed) else { return signed.to_string().into_bytes() };
    let signatures: Vec<_> = by
        .iter()
        .map(|h| json!({ "keyid": h.public.id(), "sig": hex::encode(h.sign(&message)) }))
        .collect();
    json!({ "signed": signed, "signatures": signatures }).to_string().into_bytes()
}
