//! Public keys: Ed25519 and ECDSA P-256, as TUF, minisign, OpenSSH and PEM write them.
//!
//! A key's identifier is derived from the key, never believed: SHA-256 over the canonical JSON of the TUF key.

mod forms;
mod rsa;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use rsa::RsaKey;

use crate::Sha256;

/// The TUF key identifier: 64 hexadecimal digits.
pub type KeyId = Sha256;

/// What a P-256 key begins with where people read it.
const P256: &str = "p256:";

/// A public key together with the minisign key number that goes with it.
///
/// Written on one line. Ed25519 as minisign writes it: `RW…`, base64 of `Ed || key number (8) || key (32)`.
/// P-256: `p256:` and base64 of the compressed point (33 bytes, SEC 1 §2.3.3). The key number only helps
/// stock minisign to find the key; equality and [`PublicKey::id`] look at the key alone, so one key counts once
/// whatever number it wears.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    number: [u8; 8],
    point: Point,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Point {
    Ed25519([u8; 32]),
    /// Compressed: 2 or 3, then x.
    P256([u8; 33]),
}

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 over the message itself (RFC 8032, no prehash); a signature is 64 bytes.
    Ed25519,
    /// ECDSA on P-256 over the message's SHA-256; a signature is a DER `SEQUENCE { r, s }`. Both values of `s`
    /// verify, as they do in every TUF client: what counts is the key, and it counts once.
    P256,
}

/// Bytes or text that are no public key we know.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    /// In no form that is known.
    #[error(
        "{0:?}… is not a public key (a line that begins with RW, p256:, ssh-ed25519 or ecdsa-sha2-nistp256, or a PEM block)"
    )]
    NotAKey(String),
    /// A key of a type or scheme that is not supported here.
    #[error("key type {0:?} is not supported (Ed25519 and P-256 are)")]
    Unsupported(String),
    /// A file that holds the other half.
    #[error("this is a secret key, not a public one")]
    Secret,
    /// A file that holds more than one key.
    #[error("there is more than one key in it")]
    Several,
    /// A P-256 key that is no point on the curve.
    #[error("it is not a point on the curve P-256")]
    NotOnCurve,
}

/// A signature that does not verify.
#[derive(Debug, thiserror::Error)]
#[error("signature by {key} does not verify")]
pub struct BadSignature {
    key: String,
}

impl PublicKey {
    /// An Ed25519 key with its minisign key number.
    pub fn from_parts(number: [u8; 8], key: [u8; 32]) -> Self {
        Self { number, point: Point::Ed25519(key) }
    }

    /// An Ed25519 key that never had a minisign number: it becomes the first eight bytes of the identifier.
    pub fn ed25519(key: [u8; 32]) -> Self {
        Self::numbered(Point::Ed25519(key))
    }

    /// A P-256 key from its point: `4 || x (32) || y (32)`, or compressed, `2 or 3 || x (32)`.
    ///
    /// # Errors
    /// It is not on the curve, or written in another way.
    pub fn p256(point: &[u8]) -> Result<Self, BadKey> {
        let odd = match (point.first(), point.len()) {
            (Some(4), 65) => point[64] & 1,
            (Some(form @ (2 | 3)), 33) => form - 2,
            // The library would also read the hybrid forms 6 and 7, and whole SPKIs.
            _ => return Err(BadKey::NotOnCurve),
        };
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| BadKey::NotOnCurve)?;
        let mut compressed = [2 + odd; 33];
        compressed[1..].copy_from_slice(&point[1..33]);
        Ok(Self::numbered(Point::P256(compressed)))
    }

    fn numbered(point: Point) -> Self {
        let mut this = Self { number: [0; 8], point };
        let id = this.id();
        this.number.copy_from_slice(&id.as_bytes()[..8]);
        this
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.point {
            Point::Ed25519(_) => Algorithm::Ed25519,
            Point::P256(_) => Algorithm::P256,
        }
    }

    /// The raw key: 32 bytes of Ed25519, or the 33 of a compressed P-256 point.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.point {
            Point::Ed25519(key) => key,
            Point::P256(point) => point,
        }
    }

    /// The minisign key number. A key that was not read from a minisign or signify file has the first eight
    /// bytes of its identifier.
    pub fn number(&self) -> [u8; 8] {
        self.number
    }

    /// The key as a TUF key object. Ed25519: `keyval.public` in hexadecimal; P-256: in PEM, as python-tuf writes it.
    pub fn to_tuf(&self) -> Value {
        match &self.point {
            Point::Ed25519(key) => json!({
                "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex::encode(key) },
            }),
            Point::P256(_) => json!({
                "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": { "public": self.to_pem() },
            }),
        }
    }

    /// From a TUF key object. The minisign number is not part of it and becomes the first eight bytes of the id.
    ///
    /// # Errors
    /// Another key type or scheme, or a key that is not what they say.
    pub fn from_tuf(key: &sigstore_tuf::Key) -> Result<Self, BadKey> {
        let public = key.keyval.public.as_str();
        match (key.keytype.as_str(), key.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                let mut raw = [0; 32];
                hex::decode_to_slice(public, &mut raw)
                    .map_err(|_| BadKey::Unsupported("ed25519/malformed".to_owned()))?;
                Ok(Self::ed25519(raw))
            }
            // TUF 1.0.31 §4.2 names the key type "ecdsa"; older repositories wrote the scheme there.
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                let this = Self::from_pem(public)?;
                match this.algorithm() {
                    Algorithm::P256 => Ok(this),
                    Algorithm::Ed25519 => Err(BadKey::Unsupported("ecdsa/ed25519".to_owned())),
                }
            }
            (keytype, scheme) => {
                let short = |text: &str| text.chars().take(40).collect::<String>();
                Err(BadKey::Unsupported(format!("{}/{}", short(keytype), short(scheme))))
            }
        }
    }

    /// From a TUF key object in JSON. As [`PublicKey::from_tuf`].
    ///
    /// # Errors
    /// Not a key object, another key type, or a key that is not what it says.
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

    /// Checks a signature over exactly `message`; [`Algorithm`] says what it looks like.
    ///
    /// # Errors
    /// It does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm() {
            Algorithm::Ed25519 => &ED25519,
            Algorithm::P256 => &ECDSA_P256_SHA256_ASN1,
        };
        UnparsedPublicKey::new(algorithm, self.as_bytes())
            .verify(message, signature)
            .map_err(|_| BadSignature { key: self.to_string() })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.point.hash(state);
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.point.cmp(&other.point)
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let text = text.trim();
        // Only so much of it: what was given by mistake may be a secret.
        let bad = || BadKey::NotAKey(text.chars().take(8).collect());
        if let Some(point) = text.strip_prefix(P256) {
            return Self::p256(&STANDARD.decode(point).map_err(|_| bad())?);
        }
        let raw = STANDARD.decode(text).map_err(|_| bad())?;
        let [b'E', b'd', rest @ ..] = raw.as_slice() else { return Err(bad()) };
        let (number, key) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        Ok(Self::from_parts(*number, key.try_into().map_err(|_| bad())?))
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
        match &self.point {
            Point::Ed25519(key) => {
                f.write_str(&STANDARD.encode([b"Ed".as_slice(), &self.number, key].concat()))
            }
            Point::P256(point) => write!(f, "{P256}{}", STANDARD.encode(point)),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::statement::identity(self))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

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
        let short = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO";
        let off_the_curve = format!("p256:{}", STANDARD.encode([&[2][..], &[0xff; 32]].concat()));
        for bad in ["", "RW", "hello", "p256:", "p256:BAAA", short, &off_the_curve] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_p256_key_is_read_as_it_is_written_and_verifies_what_it_signed() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let key = PublicKey::p256(pair.public_key().as_ref()).unwrap();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        assert_eq!(PublicKey::from_tuf_json(&key.to_tuf()).unwrap(), key);
        assert_eq!(key.number(), key.id().as_bytes()[..8]);
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let signature = pair.sign(&rng, b"message").unwrap();
        key.verify(b"message", signature.as_ref()).unwrap();
        assert!(key.verify(b"other", signature.as_ref()).is_err());
        assert!(key.verify(b"message", &[0; 64]).is_err());
        assert!(PublicKey::ed25519([7; 32]).verify(b"message", signature.as_ref()).is_err());

        let mut relabelled = key.to_tuf();
        relabelled["scheme"] = "ed25519".into();
        assert!(PublicKey::from_tuf_json(&relabelled).is_err());
        assert_eq!(PublicKey::p256(key.as_bytes()).unwrap(), key);
        let mut hybrid = pair.public_key().as_ref().to_vec();
        hybrid[0] = 6 + (hybrid[64] & 1);
        assert!(PublicKey::p256(&hybrid).is_err(), "one key has one name");
    }
}
