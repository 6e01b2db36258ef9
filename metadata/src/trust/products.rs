//! Releases: a product's role and, where it has bins, its index and the bins that are needed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::bins::{self, Bins};
use super::law::Loaded;
use super::source::pinned;
use super::{
    Index, KeyKinds, Releases, SignedFile, Source, Trust, TrustError, VerifiedTarget, index_of,
    product_of,
};
use crate::{Platform, Product, Version, layout, release};

/// What an index says.
struct Listing {
    index: Index,
    revoked: BTreeSet<Version>,
    rollouts: BTreeMap<String, serde_json::Value>,
}

impl Trust {
    /// The releases of `product`, by the role that keyholders sign for it. Downloads the role unless the kept one
    /// is current. Of a product with hash bins: the releases that its index lists, which are those that some node
    /// may want next; [`Trust::release`] finds the others.
    ///
    /// # Errors
    /// Nothing is trusted (any more), or this product's role is unknown, missing, expired or refused; other
    /// products are not touched by that.
    pub fn releases(
        &mut self,
        product: &Product,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Releases, TrustError> {
        self.listed(product, None, now, source)
    }

    /// As [`Trust::releases`], and of a product with hash bins only what its index lists for `platform`: what a node
    /// of that platform may want next, and nothing else is loaded.
    ///
    /// # Errors
    /// As [`Trust::releases`].
    pub fn releases_for(
        &mut self,
        product: &Product,
        platform: &Platform,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Releases, TrustError> {
        self.listed(product, Some(platform), now, source)
    }

    fn listed(
        &mut self,
        product: &Product,
        only: Option<&Platform>,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Releases, TrustError> {
        let role = self.product(product, now, source)?;
        let Some(bins) = Bins::below(product, &role.file)? else {
            return self.plain(product, &role, &|_| true);
        };
        let Listing { index, revoked, rollouts } = self.index(product, &role.file, now, source)?;
        let mut by_bin = BTreeMap::<String, BTreeSet<String>>::new();
        let wanted = |platform: &&Platform| only.is_none_or(|only| only == *platform);
        for (platform, listed) in index.iter().filter(|(platform, _)| wanted(platform)) {
            for one in listed {
                let path = release::target_path(product, &one.version, platform);
                by_bin.entry(bins.of(product, &path)).or_default().insert(path);
            }
        }
        // Bins that were looked into once need not be kept for ever.
        self.kept.retain(|name, _| {
            let role = name.strip_suffix(".json").unwrap_or(name);
            product_of(role).as_ref() != Some(product)
                || role == index_of(product)
                || by_bin.contains_key(role)
        });
        let mut all = Releases { revoked, rollouts, ..Releases::default() };
        for (bin, paths) in &by_bin {
            let found = self.bin(product, &role.file, bin, &|p| paths.contains(p), now, source)?;
            let found = found.unwrap_or_default();
            if found.verified.len() + found.refused.len() < paths.len() {
                let reason = format!("it lists a release that {bin} does not have");
                return Err(TrustError::malformed(&index_of(product), reason));
            }
            all.join(found);
        }
        all.verified.sort_by(|a, b| a.path().cmp(b.path()));
        all.mark();
        Ok(all)
    }

    /// One release, or `None` where there is none like it. Of a product with hash bins, this loads one bin.
    ///
    /// # Errors
    /// As [`Trust::releases`].
    pub fn release(
        &mut self,
        product: &Product,
        version: &Version,
        platform: &Platform,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Option<VerifiedTarget>, TrustError> {
        let role = self.product(product, now, source)?;
        let path = release::target_path(product, version, platform);
        let wanted = |p: &str| p == path;
        let found = match Bins::below(product, &role.file)? {
            None => Some(self.plain(product, &role, &wanted)?),
            Some(bins) => {
                let Listing { revoked, rollouts, .. } =
                    self.index(product, &role.file, now, source)?;
                let bin = bins.of(product, &path);
                let found = self.bin(product, &role.file, &bin, &wanted, now, source)?;
                found.map(|mut found| {
                    found.revoked = revoked;
                    found.rollouts = rollouts;
                    found.mark();
                    found
                })
            }
        };
        Ok(found.and_then(|found| found.verified.into_iter().next()))
    }

    /// The newest release for a platform that is neither revoked nor a pre-release.
    ///
    /// # Errors
    /// As [`Trust::releases`].
    pub fn newest(
        &mut self,
        product: &Product,
        platform: &Platform,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Option<VerifiedTarget>, TrustError> {
        let role = self.product(product, now, source)?;
        if Bins::below(product, &role.file)?.is_none() {
            let releases = self.plain(product, &role, &|_| true)?.verified.into_iter();
            let good = |t: &VerifiedTarget| {
                let release = t.release();
                release.platform == *platform && !release.version.is_prerelease() && !t.revoked()
            };
            return Ok(releases
                .filter(good)
                .max_by(|a, b| a.release().version.cmp(&b.release().version)));
        }
        let Listing { index, revoked, .. } = self.index(product, &role.file, now, source)?;
        let listed = index.get(platform).into_iter().flatten().map(|one| &one.version);
        let newest = listed.filter(|v| !v.is_prerelease() && !revoked.contains(v)).max();
        match newest {
            Some(version) => self.release(product, version, platform, now, source),
            None => Ok(None),
        }
    }

    /// Loads a bin or index by its name, and keeps it. `None`: it holds nothing yet.
    #[cfg(feature = "authoring")]
    pub(crate) fn below(
        &mut self,
        product: &Product,
        role: &str,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Option<SignedFile>, TrustError> {
        let above = self.product(product, now, source)?;
        let loaded = self.delegated(&above.file, role, KeyKinds::Ours, now, source)?;
        Ok(loaded.map(|loaded| loaded.file))
    }

    fn product(
        &mut self,
        product: &Product,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Loaded, TrustError> {
        let targets = self.law.check_chain(now)?.clone();
        if !self.products().contains(product) {
            return Err(TrustError::UnknownProduct(product.clone()));
        }
        let missing = || TrustError::Missing { path: format!("metadata/N.{product}.json") };
        self.delegated(&targets, product.as_str(), KeyKinds::Ours, now, source)?.ok_or_else(missing)
    }

    /// A role below `above`: the kept one where it is current. `None`: the snapshot does not list it.
    pub(super) fn delegated(
        &mut self,
        above: &SignedFile,
        role: &str,
        kinds: KeyKinds,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Option<Loaded>, TrustError> {
        let Some(pin) = self.law.pin(role)? else { return Ok(None) };
        let kept = self.kept.get(&layout::kept(role));
        let current = |bytes: &Vec<u8>| self.law.delegated(above, role, bytes, kinds, now).ok();
        if let Some(loaded) = kept.and_then(current) {
            return Ok(Some(loaded));
        }
        let bytes = pinned(source, role, &pin)?;
        let loaded = self.law.delegated(above, role, &bytes, kinds, now)?;
        self.keep(role, &bytes);
        Ok(Some(loaded))
    }

    fn plain(
        &self,
        product: &Product,
        role: &Loaded,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Releases, TrustError> {
        let way = [("targets", product.as_str())];
        Ok(Releases::read(product, self.law.entries(role, &way, wanted)?))
    }

    /// What a product's index lists, which versions it revokes, and when nodes take which.
    fn index(
        &mut self,
        product: &Product,
        above: &SignedFile,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Listing, TrustError> {
        let role = index_of(product);
        let missing = || TrustError::Missing { path: format!("metadata/N.{role}.json") };
        let loaded =
            self.delegated(above, &role, KeyKinds::Ours, now, source)?.ok_or_else(missing)?;
        Ok(Listing {
            index: bins::index(&loaded.file)?,
            revoked: loaded.file.revoked()?,
            rollouts: loaded.file.rollouts()?,
        })
    }

    fn bin(
        &mut self,
        product: &Product,
        above: &SignedFile,
        bin: &str,
        wanted: &dyn Fn(&str) -> bool,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Option<Releases>, TrustError> {
        let Some(loaded) = self.delegated(above, bin, KeyKinds::Ours, now, source)? else {
            return Ok(None);
        };
        let way = [("targets", product.as_str()), (product.as_str(), bin)];
        Ok(Some(Releases::read(product, self.law.entries(&loaded, &way, wanted)?)))
    }
}
