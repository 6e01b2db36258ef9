//! Our bare DSSE files as key-signed bundles, and back: the same signature in other clothes.

use serde::{Deserialize, Serialize};

use super::{Error, MEDIA_TYPE, limit, within};
use crate::dsse::{BadEnvelope, Envelope, EnvelopeSignature, IN_TOTO};

/// A key-signed bundle v0.3 without evidence, and nothing else: unknown fields are refused.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeySigned {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: Hint,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tlog_entries: Vec<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Timestamps::is_empty")]
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    #[serde(default)]
    hint: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Timestamps {
    #[serde(default)]
    rfc3161_timestamps: Vec<serde_json::Value>,
}

impl Timestamps {
    #[expect(clippy::ref_option, reason = "the shape that serde asks for")]
    fn is_empty(this: &Option<Self>) -> bool {
        this.as_ref().is_none_or(|t| t.rfc3161_timestamps.is_empty())
    }
}

/// A bare envelope as a bundle v0.3, which cosign and other Sigstore clients read. Nothing is verified.
///
/// # Errors
/// The envelope has another payload type, or not exactly one signature: a bundle holds one.
pub fn to_bundle(envelope: &Envelope) -> Result<Vec<u8>, Error> {
    let signature = only(envelope)?;
    let bundle = KeySigned {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: Material {
            public_key: Hint { hint: signature.keyid.clone() },
            tlog_entries: Vec::new(),
            timestamp_verification_data: None,
        },
        dsse_envelope: envelope.clone(),
    };
    serde_json::to_vec(&bundle).map_err(|e| Error::Malformed { what: "envelope", cause: e.into() })
}

/// The bare envelope of a key-signed bundle v0.3. Nothing is verified.
///
/// # Errors
/// Too big or malformed, signed with a certificate, or with evidence: a bare envelope would lose it.
pub fn from_bundle(bundle: &[u8]) -> Result<Envelope, Error> {
    let bytes = within("bundle", bundle, limit::BUNDLE)?;
    let bundle: KeySigned = serde_json::from_slice(bytes)
        .map_err(|e| Error::Malformed { what: "key-signed bundle", cause: e.into() })?;
    if bundle.media_type != MEDIA_TYPE {
        return Err(Error::Unsupported(format!("a bundle of type {:?}", bundle.media_type)));
    }
    let material = bundle.verification_material;
    if !material.tlog_entries.is_empty()
        || !Timestamps::is_empty(&material.timestamp_verification_data)
    {
        return Err(Error::Unsupported("a bare envelope with log entries or timestamps".into()));
    }
    let mut envelope = bundle.dsse_envelope;
    only(&envelope)?;
    // Both are hints; a bundle may carry either.
    if let [signature] = envelope.signatures.as_mut_slice()
        && signature.keyid.is_empty()
    {
        signature.keyid = material.public_key.hint;
    }
    Ok(envelope)
}

pub(super) fn only(envelope: &Envelope) -> Result<&EnvelopeSignature, Error> {
    if envelope.payload_type != IN_TOTO {
        return Err(BadEnvelope::OtherType(envelope.payload_type.clone()).into());
    }
    match envelope.signatures.as_slice() {
        [signature] => Ok(signature),
        several => Err(Error::Unsupported(format!("a bundle with {} signatures", several.len()))),
    }
}
