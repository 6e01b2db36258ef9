//! DSSE v1 envelopes: bytes, their type, and raw signatures over both.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{KeyId, PublicKey};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An envelope as it lies on disk: nothing in it has been verified.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Base64 of the payload.
    pub payload: String,
    /// What the payload is.
    pub payload_type: String,
    /// Signatures over the pre-authentication encoding.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// A hint only: which key may have signed. Optional in DSSE; Sigstore's tools leave it out.
    #[serde(default)]
    pub keyid: String,
    /// Base64 of the signature.
    pub sig: String,
}

/// An envelope that cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum BadEnvelope {
    /// Payload or signature is not base64.
    #[error("the envelope's {0} is not base64")]
    NotBase64(&'static str),
    /// Another payload type.
    #[error("payload type {0:?} is not {IN_TOTO}")]
    OtherType(String),
    /// The key has not signed it.
    #[error("no signature of the envelope verifies with {0:?}")]
    NotSigned(PublicKey),
    /// The payload is not the statement it should be.
    #[error("the statement is malformed: {0}")]
    Statement(String),
}

/// The DSSE v1 pre-authentication encoding: the exact bytes to be signed.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Envelope {
    /// Puts a payload and one raw signature over its [`pae`] into an envelope.
    pub fn new(payload: &[u8], key: &KeyId, signature: &[u8]) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            payload_type: IN_TOTO.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: key.to_string(),
                sig: STANDARD.encode(signature),
            }],
        }
    }

    /// The payload, unverified: only good for finding out whose key to verify with.
    ///
    /// # Errors
    /// Not base64, or not an in-toto payload.
    pub fn claimed_payload(&self) -> Result<Vec<u8>, BadEnvelope> {
        if self.payload_type != IN_TOTO {
            return Err(BadEnvelope::OtherType(self.payload_type.clone()));
        }
        STANDARD.decode(&self.payload).map_err(|_| BadEnvelope::NotBase64("payload"))
    }

    /// The payload, once `key` is seen to have signed it.
    ///
    /// # Errors
    /// `key` has not signed these bytes.
    pub fn verify(&self, key: &PublicKey) -> Result<Vec<u8>, BadEnvelope> {
        let payload = self.claimed_payload()?;
        let message = pae(&self.payload_type, &payload);
        for signature in &self.signatures {
            let raw =
                STANDARD.decode(&signature.sig).map_err(|_| BadEnvelope::NotBase64("signature"))?;
            if key.verify(&message, &raw).is_ok() {
                return Ok(payload);
            }
        }
        Err(BadEnvelope::NotSigned(*key))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_encoding_is_that_of_the_specification() {
        // The example of the DSSE protocol page.
        assert_eq!(
            super::pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
