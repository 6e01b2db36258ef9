//! Whose rebuild it was: a key's, or an identity's that a third party vouches for.

use std::fmt;

use countersign_metadata::PublicKey;
use countersign_metadata::sigstore::{SignedBy, Signer};
use serde::Serialize;

/// A rebuilder, as proven by a signature. Two of them are one only where they are the same to the byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Rebuilder {
    /// The holder of a key.
    Key(PublicKey),
    /// Whom a certificate names.
    Identity {
        /// A workflow's address, or an e-mail address.
        identity: String,
        /// Who vouched for it: the OIDC issuer.
        issuer: String,
    },
}

impl From<PublicKey> for Rebuilder {
    fn from(key: PublicKey) -> Self {
        Self::Key(key)
    }
}

impl From<&Signer> for Rebuilder {
    fn from(signer: &Signer) -> Self {
        let Signer { identity, issuer, .. } = signer;
        Self::Identity { identity: identity.clone(), issuer: issuer.clone() }
    }
}

impl From<&SignedBy> for Rebuilder {
    fn from(by: &SignedBy) -> Self {
        match by {
            SignedBy::Key(key) => Self::Key(*key),
            SignedBy::Keyless(signer) => signer.into(),
        }
    }
}

impl fmt::Display for Rebuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A certificate's words come from strangers: nothing in them may move the cursor.
        let shown = |text: &str| -> String {
            text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
        };
        match self {
            Self::Key(key) => write!(f, "{key}"),
            Self::Identity { identity, issuer } => {
                write!(f, "{} (keyless, by {})", shown(identity), shown(issuer))
            }
        }
    }
}
