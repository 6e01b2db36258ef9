//! A renewal: every role below a product said once more, one version later, for the keyholders that its new role names.
//!
//! It carries no new bytes at all. What is to be signed is derived from what is published, by whoever drafts it and
//! again by whoever signs it, so that nothing can change on the way but version and expiry.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Bytes, FORMAT, RequestSubject, Signature, SigningRequest};
use crate::trust::{SignedFile, TrustError, product_of};
use crate::{Product, canonical};

/// Many roles to be signed at once: an index and bins, which change their keyholders or only their expiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The product whose roles they are.
    pub product: Product,
    /// Which part of the whole this is, from 1: a product with very many releases does not fit into one file.
    pub part: u32,
    /// When the new versions expire; whole seconds.
    pub expires: Timestamp,
    /// Every published root file, from version 1.
    pub roots: Vec<Bytes>,
    /// The published targets file: it proves `published`.
    pub targets: Bytes,
    /// The product's role as published: it proves `files`.
    pub published: Bytes,
    /// The product's role as drafted, unsigned: it names who signs from now on.
    pub drafted: Bytes,
    /// The published roles, which are to be signed anew.
    pub files: Vec<Renewed>,
}

/// One role of a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewed {
    /// Its name: `PRODUCT.index` or `PRODUCT.3f`.
    pub role: String,
    /// Its last version, as published.
    pub last: Bytes,
}

/// What a keyholder answers to a renewal: a signature for each of its roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// [`FORMAT`].
    pub format: u32,
    /// In the order of the renewal.
    pub signatures: Vec<Signature>,
}

impl Renewal {
    /// The request for one of its roles, complete in itself.
    ///
    /// # Errors
    /// The role is not below the product, or its last version is malformed.
    pub fn request(&self, renewed: &Renewed) -> Result<SigningRequest, TrustError> {
        let Renewed { role, last } = renewed;
        if product_of(role).as_ref() != Some(&self.product) {
            return Err(TrustError::malformed(role, "it is not below the product of the renewal"));
        }
        let file = SignedFile::parse(role, &last.0)?;
        let mut signed = file.signed().clone();
        let expires = Timestamp::from_second(self.expires.as_second()).unwrap_or(self.expires);
        let new = [
            ("version", Value::from(file.version().saturating_add(1))),
            ("expires", expires.to_string().into()),
        ];
        if let Some(signed) = signed.as_object_mut() {
            signed.extend(new.map(|(name, value)| (name.to_owned(), value)));
        }
        let payload = canonical::to_bytes(&signed).map_err(|e| TrustError::malformed(role, e))?;
        let subject = RequestSubject::Role {
            role: role.clone(),
            payload: Bytes(payload),
            roots: self.roots.clone(),
            last: Some(last.clone()),
            delegator: Some(self.drafted.clone()),
            targets: Some(self.targets.clone()),
            published: Some(self.published.clone()),
            trusted_root: None,
        };
        Ok(SigningRequest { format: FORMAT, subject })
    }
}
