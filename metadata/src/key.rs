//! Public keys: Ed25519, as TUF and as minisign write them.
//!
//! A key's identifier is derived from the key, never believed: SHA-256 over the canonical JSON of the TUF key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Sha256;

/// The TUF key identifier: 64 hexadecimal digits.
pub type KeyId = Sha256;

/// An Ed25519 public key together with the minisign key number that goes with it.
///
/// Written as minisign writes it (`RW…`, base64 of `Ed || key number (8) || key (32)`). The key number only
/// helps stock minisign to find the key; equality and [`PublicKey::id`] look at the key alone, so one key
/// counts once whatever number it wears.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    number: [u8; 8],
    key: [u8; 32],
}

/// Bytes or text that are no public key we know.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    /// Neither a minisign public key line nor a file of one.
    #[error("{0:?} is not a minisign public key (one line that begins with RW)")]
    NotMinisign(String),
    /// A TUF key of a type or scheme that is not supported here.
    #[error("TUF key type {0:?} is not supported (ed25519 is)")]
    Unsupported(String),
}

/// A signature that does not verify.
#[derive(Debug, thiserror::Error)]
#[error("signature by {key} does not verify")]
pub struct BadSignature {
    key: String,
}

impl PublicKey {
    /// From a minisign key number and raw key.
    pub fn from_parts(number: [u8; 8], key: [u8; 32]) -> Self {
        Self { number, key }
    }

    /// From a minisign public key file: an untrusted comment, then the key.
    ///
    /// # Errors
    /// There is no key line.
    pub fn from_file_text(text: &str) -> Result<Self, BadKey> {
        let line = text
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with("untrusted comment:"));
        line.ok_or_else(|| BadKey::NotMinisign(String::new()))?.parse()
    }

    /// The raw 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// The minisign key number.
    pub fn number(&self) -> [u8; 8] {
        self.number
    }

    /// The key as a TUF key object: `keytype`, `scheme`, `keyval.public` in hexadecimal.
    pub fn to_tuf(&self) -> Value {
        json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex::encode(self.key) } })
    }

    /// From a TUF key object. The minisign number is not part of it and becomes the first eight bytes of the id.
    ///
    /// # Errors
    /// Another key type, or a key that is not 32 bytes of hexadecimal.
    pub fn from_tuf(key: &sigstore_tuf::Key) -> Result<Self, BadKey> {
        let unsupported = || BadKey::Unsupported(format!("{}/{}", key.keytype, key.scheme));
        if key.keytype != "ed25519" || key.scheme != "ed25519" {
            return Err(unsupported());
        }
        let mut raw = [0; 32];
        hex::decode_to_slice(&key.keyval.public, &mut raw).map_err(|_| unsupported())?;
        let mut this = Self { number: [0; 8], key: raw };
        let id = this.id();
        this.number.copy_from_slice(&id.as_bytes()[..8]);
        Ok(this)
    }

    /// From a TUF key object in JSON. As [`PublicKey::from_tuf`].
    ///
    /// # Errors
    /// Not a key object, another key type, or a key that is not 32 bytes of hexadecimal.
    pub fn from_tuf_json(key: &Value) -> Result<Self, BadKey> {
        let key: sigstore_tuf::Key = Deserialize::deserialize(key)
            .map_err(|_| BadKey::Unsupported("malformed".to_owned()))?;
        Self::from_tuf(&key)
    }

    /// The TUF key identifier.
    #[expect(clippy::missing_panics_doc, reason = "three strings always have a canonical form")]
    pub fn id(&self) -> KeyId {
        #[expect(clippy::expect_used, reason = "three strings always have a canonical form")]
        Sha256::of(&crate::canonical::to_bytes(&self.to_tuf()).expect("three strings"))
    }

    /// Checks a raw Ed25519 signature over exactly `message` (RFC 8032, no prehash).
    ///
    /// # Errors
    /// It does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(message, signature)
            .map_err(|_| BadSignature { key: self.to_string() })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bad = || BadKey::NotMinisign(text.chars().take(80).collect());
        let raw = STANDARD.decode(text.trim()).map_err(|_| bad())?;
        let [b'E', b'd', rest @ ..] = raw.as_slice() else { return Err(bad()) };
        let (number, key) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        Ok(Self { number: *number, key: key.try_into().map_err(|_| bad())? })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut raw = b"Ed".to_vec();
        raw.extend_from_slice(&self.number);
        raw.extend_from_slice(&self.key);
        f.write_str(&STANDARD.encode(raw))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "minisign:{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_itself_whatever_number_it_wears() {
        let one = PublicKey::from_parts([1; 8], [7; 32]);
        let two = PublicKey::from_parts([2; 8], [7; 32]);
        assert_eq!((one, one.id()), (two, two.id()));
        assert_eq!(one.to_string().parse::<PublicKey>().unwrap().number(), [1; 8]);
        assert!(one.to_string().starts_with("RW"));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        for bad in ["", "RW", "hello", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO"] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }
}
