//! Hash bins: a product with very many releases keeps them in many small roles below its own.
//!
//! ```text
//! targets ─▶ PRODUCT ─┬▶ PRODUCT.index   the releases that a node may want next, and the revoked versions
//!   (delegations only) ├▶ PRODUCT.00      the releases whose path's SHA-256 begins with these bits
//!                      └▶ PRODUCT.01 …    (a bin that holds nothing yet has no file)
//! ```
//!
//! A bin's name has a dot, which no product's name has. One lookup costs the product's role, its index and one bin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{SignedFile, TrustError};
use crate::{Platform, Product, Sha256, Version};

/// The field of an index's `signed` with the releases that a node may want next, by platform.
pub const INDEX: &str = "x-countersign-index";

/// How many bins a product has: a power of two, 16 to 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bins(u32);

/// A number that is no number of bins.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no number of bins: a power of two, 16 to 4096")]
pub struct BadBins(u32);

/// A release that an index lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Indexed {
    /// Its version.
    pub version: Version,
    /// Its barrier: the oldest version that it may follow directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Version>,
}

/// What an index lists.
pub type Index = BTreeMap<Platform, Vec<Indexed>>;

/// Newest releases that an index keeps whatever else it lists: what a node falls back to that refuses the newest.
const NEWEST: usize = 4;

impl TryFrom<u32> for Bins {
    type Error = BadBins;

    fn try_from(count: u32) -> Result<Self, BadBins> {
        let good = count.is_power_of_two() && (16..=4096).contains(&count);
        if good { Ok(Self(count)) } else { Err(BadBins(count)) }
    }
}

impl std::str::FromStr for Bins {
    type Err = BadBins;

    fn from_str(text: &str) -> Result<Self, BadBins> {
        text.parse::<u32>().map_err(|_| BadBins(0))?.try_into()
    }
}

impl Bins {
    /// Their number.
    pub fn count(self) -> u32 {
        self.0
    }

    /// The name of the bin with this number.
    pub fn name(self, product: &Product, number: u32) -> String {
        format!("{product}.{number:0digits$x}", digits = self.digits())
    }

    /// The name of the bin that a target path falls into: by the first bits of the path's SHA-256.
    pub fn of(self, product: &Product, path: &str) -> String {
        let digest = Sha256::of(path.as_bytes());
        let [a, b, ..] = *digest.as_bytes();
        let first = u32::from(u16::from_be_bytes([a, b]));
        self.name(product, first >> (16 - self.0.trailing_zeros()))
    }

    /// The prefixes of hexadecimal digests that a bin stands for.
    pub fn prefixes(self, number: u32) -> Vec<String> {
        let digits = self.digits();
        let each = (1 << (4 * digits)) / self.0;
        (number * each..(number + 1) * each).map(|n| format!("{n:0digits$x}")).collect()
    }

    /// Hexadecimal digits of a bin's number, and of its prefixes.
    fn digits(self) -> usize {
        self.0.trailing_zeros().div_ceil(4) as usize
    }

    /// Whether a product's role has bins; then it must have exactly these roles below it, and no releases of its
    /// own.
    pub(crate) fn below(product: &Product, role: &SignedFile) -> Result<Option<Self>, TrustError> {
        let roles = role.signed().pointer("/delegations/roles").and_then(Value::as_array);
        let Some(roles) = roles.filter(|roles| !roles.is_empty()) else { return Ok(None) };
        let further = || TrustError::DelegatesFurther { role: product.to_string() };
        let count = u32::try_from(roles.len() - 1).map_err(|_| further())?;
        let bins = Self::try_from(count).map_err(|_| further())?;
        let mut names = roles.iter().map(|r| r.get("name").and_then(Value::as_str));
        let index = names.next().flatten();
        let numbered = names.zip(0..).all(|(name, n)| name == Some(&*bins.name(product, n)));
        if index != Some(&*index_of(product)) || !numbered {
            return Err(further());
        }
        let own = role.signed().get("targets").and_then(Value::as_object);
        if own.is_some_and(|own| !own.is_empty()) {
            return Err(TrustError::malformed(
                product.as_str(),
                "it has bins and releases of its own",
            ));
        }
        Ok(Some(bins))
    }
}

/// The name of a product's index.
pub fn index_of(product: &Product) -> String {
    format!("{product}.index")
}

/// The product that a bin or index belongs to.
pub fn product_of(role: &str) -> Option<Product> {
    role.split_once('.')?.0.parse().ok()
}

/// What an index lists, where `file` is one.
///
/// # Errors
/// What it says is no index.
pub fn index(file: &SignedFile) -> Result<Index, TrustError> {
    let malformed = |e: serde_json::Error| TrustError::malformed(file.role(), e);
    file.signed().get(INDEX).map_or(Ok(Index::new()), Index::deserialize).map_err(malformed)
}

/// The releases among these that some node may want next: the newest few, and each one with no newer one that
/// could be installed instead of it.
pub fn worth_listing(mut releases: Vec<Indexed>) -> Vec<Indexed> {
    // All of an entry, so that the order of what comes in does not matter.
    releases.sort_by(|a, b| b.cmp(a));
    releases.dedup();
    let mut kept: Vec<Indexed> = Vec::new();
    let mut stable = 0;
    for one in releases {
        let newer_instead = kept.iter().any(|newer| {
            newer.follows <= one.follows
                && (one.version.is_prerelease() || !newer.version.is_prerelease())
        });
        let among_newest = !one.version.is_prerelease() && stable < NEWEST;
        stable += usize::from(!one.version.is_prerelease());
        if !newer_instead || among_newest {
            kept.push(one);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexed(version: &str, follows: Option<&str>) -> Indexed {
        let parse = |text: &str| text.parse::<Version>().unwrap();
        Indexed { version: parse(version), follows: follows.map(parse) }
    }

    #[test]
    fn every_digest_falls_into_one_bin() {
        assert!([0, 8, 17, 8192].iter().all(|n| Bins::try_from(*n).is_err()));
        let product: Product = "demo".parse().unwrap();
        for count in [16, 32, 256, 512, 4096] {
            let bins = Bins::try_from(count).unwrap();
            let all: Vec<_> = (0..count).flat_map(|n| bins.prefixes(n)).collect();
            assert_eq!(all.len(), 16_usize.pow(bins.digits() as u32));
            assert!(all.is_sorted());
            let digest = Sha256::of(b"demo/1.0.0/x").to_string();
            let number = (0..count)
                .find(|n| bins.prefixes(*n).iter().any(|p| digest.starts_with(p.as_str())));
            assert_eq!(bins.of(&product, "demo/1.0.0/x"), bins.name(&product, number.unwrap()));
        }
    }

    #[test]
    fn barriers_stay_listed_and_what_nobody_needs_does_not() {
        let mut all: Vec<_> = (0..50).map(|n| indexed(&format!("1.{n}.0"), None)).collect();
        all.extend((0..50).map(|n| indexed(&format!("2.{n}.0"), Some("1.49.0"))));
        all.push(indexed("3.0.0-beta.1", Some("2.0.0")));
        let listed: Vec<_> =
            worth_listing(all.clone()).iter().map(|i| i.version.to_string()).collect();
        let wanted = ["1.49.0", "2.46.0", "2.47.0", "2.48.0", "2.49.0", "3.0.0-beta.1"];
        assert_eq!(listed, wanted);
        // One by one comes to the same as all at once.
        let grown = all.into_iter().fold(Vec::new(), |mut listed, one| {
            listed.push(one);
            worth_listing(listed)
        });
        assert_eq!(grown.len(), wanted.len());
    }
}
