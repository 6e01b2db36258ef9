//! Revocation: the next version of a product's role tells nodes to leave a version.

use jiff::Timestamp;
use serde_json::json;

use super::draft::next_version;
use super::published::Published;
use super::{AuthoringError, Draft, roles};
use crate::trust::{REVOKED, VerifiedTarget};
use crate::{Product, Version};

impl Draft {
    /// The next version of a product's role, which revokes a version of it on all platforms.
    ///
    /// # Errors
    /// The product or version is not there, or is revoked already.
    pub fn revoke(
        published: &Published,
        product: &Product,
        version: &Version,
        expires: Timestamp,
    ) -> Result<Self, AuthoringError> {
        let role = product.as_str();
        let last =
            published.file(role).ok_or_else(|| AuthoringError::UnknownProduct(product.clone()))?;
        let is = |t: &&VerifiedTarget| {
            t.release().product == *product && t.release().version == *version
        };
        if !published.releases().iter().any(|t| is(&t)) {
            let (product, version) = (product.clone(), version.clone());
            return Err(AuthoringError::NoSuchRelease { product, version });
        }
        let mut revoked = last.revoked().map_err(AuthoringError::Published)?;
        if !revoked.insert(version.clone()) {
            return Err(AuthoringError::NoChange);
        }
        let next = roles::next(last, expires, [(REVOKED, json!(revoked))]);
        let delegator = published.bytes("targets").cloned();
        let request = next_version(published, role, &next, delegator, None)?;
        Self::from_requests(vec![request], Some(published))
    }
}
