//! Revocation: the next version of a product's role, or of its index, tells nodes to leave a version.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::draft::next_version;
use super::published::Published;
use super::{AuthoringError, Draft, roles};
use crate::trust::{INDEX, Index, Indexed, REVOKED, SignedFile, index_of, worth_listing};
use crate::{Product, Release, Version};

impl Draft {
    /// The next version of a product's role, which revokes a version of it on all platforms; with bins, of its
    /// index, which then lists what nodes may want instead.
    ///
    /// # Errors
    /// The product or version is not there, or is revoked already. With bins: not all of them were loaded
    /// ([`Published::load_bins`]).
    pub fn revoke(
        published: &Published,
        product: &Product,
        version: &Version,
        expires: Timestamp,
    ) -> Result<Self, AuthoringError> {
        let unknown = || AuthoringError::UnknownProduct(product.clone());
        let last = published.file(product.as_str()).ok_or_else(unknown)?;
        let targets = published.bytes("targets").cloned();
        let binned = published.bins(product)?.is_some();
        let mut files = vec![last];
        let (mut role, mut changes) = (last, Vec::new());
        if binned {
            let load = |role: String| match published.file(&role) {
                Some(file) => Ok(file),
                None => Err(AuthoringError::NotLoaded { role }),
            };
            files = published.bin_names(product).into_iter().map(load).collect::<Result<_, _>>()?;
            role = load(index_of(product))?;
        }
        let releases: Vec<_> = files.into_iter().flat_map(releases).collect();
        if !releases.iter().any(|release| release.version == *version) {
            let (product, version) = (product.clone(), version.clone());
            return Err(AuthoringError::NoSuchRelease { product, version });
        }
        let mut revoked = role.revoked().map_err(AuthoringError::Published)?;
        if !revoked.insert(version.clone()) {
            return Err(AuthoringError::NoChange);
        }
        if binned {
            let mut index = Index::new();
            for Release { version, platform, follows, .. } in releases {
                if !revoked.contains(&version) {
                    index.entry(platform).or_default().push(Indexed { version, follows });
                }
            }
            for listed in index.values_mut() {
                *listed = worth_listing(std::mem::take(listed));
            }
            changes.push((INDEX, json!(index)));
        }
        changes.push((REVOKED, json!(revoked)));
        let next = roles::next(role, expires, changes);
        let (delegator, targets) = match binned {
            true => (published.bytes(product.as_str()).cloned(), targets),
            false => (targets, None),
        };
        let request = next_version(published, role.role(), &next, delegator, targets)?;
        Self::from_requests(vec![request], Some(published))
    }
}

fn releases(file: &SignedFile) -> Vec<Release> {
    let targets = file.signed().get("targets").and_then(Value::as_object);
    let entries = targets.into_iter().flatten();
    entries.filter_map(|(path, e)| Release::from_custom(path, e.get("custom")).ok()).collect()
}
