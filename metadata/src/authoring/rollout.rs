//! A rollout: the next version of a product's role, or of its index, says anew when nodes take a version.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::draft::next_version;
use super::published::Published;
use super::{AuthoringError, Draft, roles};
use crate::rollout::{ROLLOUT, Rollout};
use crate::trust::index_of;
use crate::{Product, Version};

impl Draft {
    /// The next version of a product's role, with bins of its index, in which `rollout` is what counts for a version;
    /// an empty one takes back what was said. The version may be one that is released later: then nodes know when
    /// before they know what.
    ///
    /// # Errors
    /// The product is not there, the rollout makes no sense, or it says what is said already. With bins: the index was
    /// not loaded ([`Published::load_bins`]).
    pub fn rollout(
        published: &Published,
        product: &Product,
        version: &Version,
        rollout: &Rollout,
        expires: Timestamp,
    ) -> Result<Self, AuthoringError> {
        rollout.check()?;
        let unknown = || AuthoringError::UnknownProduct(product.clone());
        let above = published.file(product.as_str()).ok_or_else(unknown)?;
        let targets = published.bytes("targets").cloned();
        let (role, delegator, targets) = match published.bins(product)? {
            None => (above, targets, None),
            Some(_) => {
                let role = index_of(product);
                let index = published.file(&role).ok_or(AuthoringError::NotLoaded { role })?;
                (index, published.bytes(product.as_str()).cloned(), targets)
            }
        };
        let mut all = role.rollouts().map_err(AuthoringError::Published)?;
        let said = all.remove(&version.to_string());
        if !rollout.is_empty() {
            all.insert(version.to_string(), json!(rollout));
        }
        if said.as_ref() == all.get(&version.to_string()) {
            return Err(AuthoringError::NoChange);
        }
        let all = Value::Object(all.into_iter().collect());
        let next = roles::next(role, expires, [(ROLLOUT, all)]);
        let request = next_version(published, role.role(), &next, delegator, targets)?;
        Self::from_requests(vec![request], Some(published))
    }
}

impl Published {
    /// What is said about when nodes take a version: an empty rollout where nothing is.
    ///
    /// # Errors
    /// The product is not there, or its index was not loaded ([`Published::load_bins`]), or what is said is unreadable.
    pub fn rollout(&self, product: &Product, version: &Version) -> Result<Rollout, AuthoringError> {
        let role = match self.bins(product)? {
            None => product.to_string(),
            Some(_) => index_of(product),
        };
        let file = self.file(&role).ok_or(AuthoringError::NotLoaded { role })?;
        let all = file.rollouts().map_err(AuthoringError::Published)?;
        Ok(all.get(&version.to_string()).map_or(Ok(Rollout::default()), Rollout::read)?)
    }
}
