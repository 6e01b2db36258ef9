//! RSA keys, which other people's TUF repositories have: they are counted there, and nothing of ours is signed by them.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA256};
use serde::Deserialize;
use serde_json::Value;

use super::forms::spki_of;
use super::{BadKey, BadSignature};
use crate::Sha256;

/// An RSA key of 2048 to 8192 bits that signs by RSASSA-PSS over SHA-256 (RFC 8017 §8.1; salt of 32 bytes).
///
/// Equality looks at the key alone: it is held as its `SubjectPublicKeyInfo`, written anew from modulus and exponent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RsaKey(Vec<u8>);

impl RsaKey {
    /// From a TUF key object in JSON: `rsa`, `rsassa-pss-sha256`, in PEM.
    ///
    /// # Errors
    /// Another key type or scheme, or a key that is not what they say.
    pub fn from_tuf_json(key: &Value) -> Result<Self, BadKey> {
        let malformed = |_| BadKey::Unsupported("rsa/malformed".to_owned());
        let key: sigstore_tuf::Key = Deserialize::deserialize(key).map_err(malformed)?;
        if (key.keytype.as_str(), key.scheme.as_str()) != ("rsa", "rsassa-pss-sha256") {
            return Err(BadKey::Unsupported(key.scheme.chars().take(40).collect()));
        }
        let unsupported = || BadKey::Unsupported("SPKI".to_owned());
        let parsed = ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, spki_of(&key.keyval.public)?)
            .map_err(|_| unsupported())?;
        Ok(Self(parsed.as_der().map_err(|_| unsupported())?.as_ref().to_vec()))
    }

    /// Checks a signature over exactly `message`.
    ///
    /// # Errors
    /// It does not verify, or the key is shorter than 2048 bits.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &self.0)
            .ok()
            .and_then(|key| key.verify_sig(message, signature).ok())
            .ok_or_else(|| BadSignature { key: format!("{self:?}") })
    }
}

impl std::fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rsa:{}", Sha256::of(&self.0).short())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn tuf(scheme: &str, der: &[u8]) -> Value {
        let body = STANDARD.encode(der);
        let public = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        serde_json::json!({ "keytype": "rsa", "scheme": scheme, "keyval": { "public": public } })
    }

    #[test]
    fn an_rsa_key_is_one_key_however_it_is_wrapped_and_verifies_pss_alone() {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        let key = RsaKey::from_tuf_json(&tuf("rsassa-pss-sha256", spki.as_ref())).unwrap();
        let bare = tuf("rsassa-pss-sha256", pair.public_key().as_ref());
        assert_eq!(RsaKey::from_tuf_json(&bare).unwrap(), key);
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PSS_SHA256, &rng, b"message", &mut signature).unwrap();
        key.verify(b"message", &signature).unwrap();
        assert!(key.verify(b"other", &signature).is_err());
        assert!(key.verify(b"message", &[]).is_err());
        pair.sign(&RSA_PKCS1_SHA256, &rng, b"message", &mut signature).unwrap();
        assert!(key.verify(b"message", &signature).is_err());
        for bad in [tuf("rsa-pkcs1v15-sha256", spki.as_ref()), tuf("rsassa-pss-sha256", b"no key")]
        {
            assert!(RsaKey::from_tuf_json(&bad).is_err(), "{bad}");
        }
    }
}
