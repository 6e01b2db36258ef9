//! Signing requests and signatures: plain files that cross an air gap.
//!
//! A request carries the exact bytes to be signed and what a keyholder needs to understand them. Nothing in it
//! is believed but the bytes: the chain is verified against the root that the keyholder has pinned.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{PublicKey, Sha256, dsse};

mod asked;
mod renewal;

pub use asked::{NotSigned, signed_statement};
pub use renewal::{Renewal, Renewed, Signatures};

/// The format that this code writes and reads.
pub const FORMAT: u32 = 1;

/// Bytes in JSON: base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, base64::DecodeError> {
        STANDARD.decode(text).map(Self)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        STANDARD.encode(bytes.0)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A request for signatures. Nothing in it has been verified.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SigningRequest {
    /// [`FORMAT`].
    pub format: u32,
    /// What is to be signed.
    #[serde(flatten)]
    pub subject: RequestSubject,
}

/// What is to be signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RequestSubject {
    /// A version of a TUF role.
    Role {
        /// Its name: `root`, `targets`, `snapshot`, `timestamp`, or a product.
        role: String,
        /// The canonical bytes of its `signed` object: exactly what is signed.
        payload: Bytes,
        /// Every published root file, from version 1, as published. Empty for a first root.
        roots: Vec<Bytes>,
        /// The last published version of this role, as published.
        last: Option<Bytes>,
        /// For a product: the published targets file that delegates to it; where the same draft replaces targets,
        /// and before the first publication, the drafted one. For targets: the drafted root, where the same draft
        /// replaces root. For a bin or index (`PRODUCT.3f`, `PRODUCT.index`): the product's role. A drafted file carries no signatures.
        delegator: Option<Bytes>,
        /// The published targets file, where `delegator` is not that: it proves `last` of a product whose
        /// `delegator` is drafted, and the `delegator` of a bin or index.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        targets: Option<Bytes>,
        /// For a bin or index whose `delegator` is drafted: the published role of the product, which proves `last`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        published: Option<Bytes>,
        /// For targets that bring another `trusted_root.json`: that file, for the keyholder's eyes. The payload has its
        /// digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trusted_root: Option<Bytes>,
    },
    /// Many roles below a product, said once more.
    Renewal(Box<Renewal>),
    /// An in-toto statement; what is signed is its DSSE encoding.
    Statement {
        /// The statement's bytes.
        payload: Bytes,
    },
}

impl SigningRequest {
    /// The exact bytes that a signature covers. A renewal has many messages, those of [`Renewal::request`], and
    /// none of its own.
    pub fn message(&self) -> Vec<u8> {
        match &self.subject {
            RequestSubject::Role { payload, .. } => payload.0.clone(),
            RequestSubject::Renewal(_) => Vec::new(),
            RequestSubject::Statement { payload } => dsse::pae(dsse::IN_TOTO, &payload.0),
        }
    }
}

/// A signature on its way back to who asked for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// [`FORMAT`].
    pub format: u32,
    /// SHA-256 of the message that was signed.
    pub message: Sha256,
    /// Who signed.
    pub key: PublicKey,
    /// The signer's own name for the key; for people only.
    #[serde(default)]
    pub label: String,
    /// Over the message, in hexadecimal: 64 bytes of Ed25519, or DER of ECDSA on P-256.
    #[serde(with = "hex")]
    pub signature: Vec<u8>,
    /// The same signature as a `.minisig` file of the stock tool; only where the key is a minisign key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minisig: Option<String>,
    /// For a release: the verdict (a DSSE envelope) that this keyholder signed about an own rebuild; absent where
    /// the keyholder signed `--without-rebuild`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<dsse::Envelope>,
    /// For a release that was signed `--without-rebuild`: the keyholder's own signed word that it was
    /// ([`crate::waiver`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<dsse::Envelope>,
    /// Where another key signed the verdict in `rebuilt`: the keyholder's own signed word that it is an own one
    /// ([`crate::word`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<dsse::Envelope>,
}

/// A signature that was accepted: its key signed exactly this message.
#[derive(Clone, Debug)]
pub struct VerifiedSignature(Signature);

impl VerifiedSignature {
    /// The signature.
    pub fn get(&self) -> &Signature {
        &self.0
    }
}

/// Why a signature is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// It is for other bytes.
    #[error("the signature is for message {found:?}, not for {wanted:?}")]
    OtherMessage {
        /// What it says it signed.
        found: Sha256,
        /// What was asked for.
        wanted: Sha256,
    },
    /// It does not verify.
    #[error(transparent)]
    Signature(#[from] crate::key::BadSignature),
}

impl Signature {
    /// Checks that the signature is over `message`.
    ///
    /// # Errors
    /// It is for another message, or does not verify.
    pub fn verify(self, message: &[u8]) -> Result<VerifiedSignature, BadAnswer> {
        let wanted = Sha256::of(message);
        if self.message != wanted {
            return Err(BadAnswer::OtherMessage { found: self.message, wanted });
        }
        self.key.verify(message, &self.signature)?;
        Ok(VerifiedSignature(self))
    }
}
