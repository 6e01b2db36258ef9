//! What is published, read back through the law: everything but expiry, which must not hinder its renewal.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::AuthoringError;
use super::accept::SignedRole;
use crate::layout::{self, limit};
use crate::request::Bytes;
use crate::trust::{
    Authority, Bins, Kept, RoleState, SignedFile, Source, SourceError, Trust, TrustError,
    VerifiedTarget, index_of, product_of,
};
use crate::{Product, Release, Version};

/// A published repository.
#[derive(Debug)]
pub struct Published {
    trust: Trust,
    roots: Vec<Vec<u8>>,
    files: BTreeMap<String, SignedFile>,
    releases: Vec<VerifiedTarget>,
    revoked: BTreeMap<Product, BTreeSet<Version>>,
}

impl Published {
    /// Reads a repository. `None`: nothing is published there yet, that is, there is no `timestamp.json`.
    ///
    /// # Errors
    /// What is there does not verify from its first root on, or cannot be read.
    pub fn read(source: &mut dyn Source) -> Result<Option<Self>, AuthoringError> {
        Self::verified(source).map_err(AuthoringError::Published)
    }

    fn verified(source: &mut dyn Source) -> Result<Option<Self>, TrustError> {
        if fetch(source, layout::TIMESTAMP, limit::TIMESTAMP)?.is_none() {
            return Ok(None);
        }
        let mut roots = Vec::new();
        while let Some(root) =
            fetch(source, &layout::metadata("root", roots.len() as u64 + 1), limit::ROOT)?
        {
            roots.push(root);
        }
        let read = Self::below(roots.clone(), source);
        if read.is_err() && roots.len() > 1 {
            // A publication that died between a new root and its timestamp: without the root all is as before.
            let path = layout::metadata("root", roots.len() as u64);
            roots.pop();
            if let Ok(before) = Self::below(roots, &mut Without { source, path }) {
                return Ok(Some(before));
            }
        }
        read.map(Some)
    }

    fn below(roots: Vec<Vec<u8>>, source: &mut dyn Source) -> Result<Self, TrustError> {
        let missing = || TrustError::Missing { path: layout::metadata("root", 1) };
        let mut trust = Trust::from_root(roots.first().ok_or_else(missing)?)?;
        // At the beginning of time nothing has expired.
        let now = Timestamp::MIN;
        trust.refresh(now, source)?;
        let mut releases = Vec::new();
        let mut revoked = BTreeMap::new();
        for product in trust.products() {
            let found = trust.releases(&product, now, source)?;
            releases.extend(found.verified);
            revoked.insert(product, found.revoked);
        }
        let files = trust
            .kept()
            .iter()
            .map(|(name, bytes)| {
                let role = name.strip_suffix(".json").unwrap_or(name);
                Ok((role.to_owned(), SignedFile::parse(role, bytes)?))
            })
            .collect::<Result<_, TrustError>>()?;
        Ok(Self { trust, roots, files, releases, revoked })
    }

    /// Loads a bin that [`Published::read`] had no need for; nothing for other roles, loaded ones, and bins that
    /// hold nothing yet.
    ///
    /// # Errors
    /// It does not verify, or cannot be read.
    pub fn load(&mut self, role: &str, source: &mut dyn Source) -> Result<(), AuthoringError> {
        // A product that a draft adds is not there yet.
        let wanted = |p: &Product| !self.files.contains_key(role) && self.products().contains(p);
        let Some(product) = product_of(role).filter(wanted) else { return Ok(()) };
        let file = self.trust.below(&product, role, Timestamp::MIN, source);
        if let Some(file) = file.map_err(AuthoringError::Published)? {
            self.files.insert(role.to_owned(), file);
        }
        Ok(())
    }

    /// Loads the bin of a release, which may not be there yet.
    ///
    /// # Errors
    /// As [`Published::load`].
    pub fn load_bin_of(
        &mut self,
        release: &Release,
        source: &mut dyn Source,
    ) -> Result<(), AuthoringError> {
        match self.bins(&release.product)? {
            Some(bins) => self.load(&bins.of(&release.product, &release.target_path()), source),
            None => Ok(()),
        }
    }

    /// Loads every bin of a product.
    ///
    /// # Errors
    /// As [`Published::load`].
    pub fn load_bins(
        &mut self,
        product: &Product,
        source: &mut dyn Source,
    ) -> Result<(), AuthoringError> {
        self.bin_names(product).iter().try_for_each(|bin| self.load(bin, source))
    }

    /// The bins of a product that hold something.
    pub(super) fn bin_names(&self, product: &Product) -> Vec<String> {
        let meta = self.meta().map(|meta| meta.keys().cloned().collect::<Vec<_>>());
        let names = meta.unwrap_or_default().into_iter();
        let names = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()));
        let index = index_of(product);
        names.filter(|n| product_of(n).as_ref() == Some(product) && *n != index).collect()
    }

    /// Whether a product has bins.
    pub(super) fn bins(&self, product: &Product) -> Result<Option<Bins>, AuthoringError> {
        let Some(file) = self.files.get(product.as_str()) else { return Ok(None) };
        Bins::below(product, file).map_err(AuthoringError::Published)
    }

    /// What the published snapshot lists.
    pub(super) fn meta(&self) -> Option<&Map<String, Value>> {
        self.files.get("snapshot")?.signed().get("meta")?.as_object()
    }

    /// The published version of a role; 0 if there is none.
    pub fn version(&self, role: &str) -> u64 {
        let listed = || self.meta()?.get(&format!("{role}.json"))?.get("version")?.as_u64();
        self.files.get(role).map(SignedFile::version).or_else(listed).unwrap_or(0)
    }

    /// The published file of a role, taken apart.
    pub fn file(&self, role: &str) -> Option<&SignedFile> {
        self.files.get(role)
    }

    /// The published bytes of a role.
    pub(super) fn bytes(&self, role: &str) -> Option<&Vec<u8>> {
        self.trust.file(role)
    }

    /// The products.
    pub fn products(&self) -> Vec<Product> {
        self.trust.products()
    }

    /// Every release; of a product with bins, those that its index lists.
    pub fn releases(&self) -> &[VerifiedTarget] {
        &self.releases
    }

    /// The versions of a product that nodes must leave.
    pub fn revoked(&self, product: &Product) -> BTreeSet<Version> {
        self.revoked.get(product).cloned().unwrap_or_default()
    }

    /// The trusted state, to be asked on.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The release at a target path.
    pub fn release(&self, path: &str) -> Option<&VerifiedTarget> {
        self.releases.iter().find(|target| target.path() == path)
    }

    /// The release at a target path, looked for in its bin where it has one.
    ///
    /// # Errors
    /// The bin does not verify, or cannot be read.
    pub fn find(
        &mut self,
        path: &str,
        source: &mut dyn Source,
    ) -> Result<Option<VerifiedTarget>, AuthoringError> {
        if let Some(found) = self.release(path) {
            return Ok(Some(found.clone()));
        }
        let mut segments = path.split('/');
        let (product, version) = (segments.next(), segments.next());
        let Some((product, version)) = product
            .and_then(|p| p.parse::<Product>().ok())
            .zip(version.and_then(|v| v.parse::<Version>().ok()))
        else {
            return Ok(None);
        };
        let name = segments.next().and_then(|n| n.strip_prefix(&format!("{product}-{version}-")));
        let platform = name.and_then(|n| n.strip_suffix(".tar.zst")?.parse().ok());
        let Some(platform) = platform.filter(|_| self.products().contains(&product)) else {
            return Ok(None);
        };
        self.trust
            .release(&product, &version, &platform, Timestamp::MIN, source)
            .map_err(AuthoringError::Published)
    }

    /// Versions and expiry of every role, root first.
    pub fn roles(&self) -> Vec<RoleState> {
        let mut roles = self.trust.roles();
        let names = self
            .files
            .keys()
            .filter(|role| role.parse::<Product>().is_ok() || product_of(role).is_some());
        roles.extend(names.filter_map(|role| {
            let file = self.files.get(role)?;
            let (role, version, expires) = (file.role().to_owned(), file.version(), file.expires());
            Some(RoleState { role, version, expires })
        }));
        roles
    }

    /// Whether this very version of a role is published.
    pub(super) fn has(&self, new: &SignedRole) -> bool {
        let message = SignedFile::parse(&new.role, &new.bytes);
        let file = self.files.get(&new.role);
        file.zip(message.ok()).is_some_and(|(file, new)| file.message() == new.message())
    }

    /// What a client that followed every publication has on its disk.
    pub(super) fn kept(&self) -> Kept {
        self.trust.kept()
    }

    pub(super) fn root_files(&self) -> &[Vec<u8>] {
        &self.roots
    }

    /// The chain of roots, for a signing request.
    pub(super) fn chain(&self) -> Vec<Bytes> {
        self.roots.iter().cloned().map(Bytes).collect()
    }

    /// Who may sign a role by what is published.
    pub(super) fn authority(&self, role: &str) -> Result<Authority, TrustError> {
        match (role, self.trust.targets()) {
            ("root" | "targets" | "snapshot" | "timestamp", _) => {
                Authority::of_root(self.trust.root(), role)
            }
            (below, _) if product_of(below).is_some() => {
                let above = product_of(below).and_then(|p| self.files.get(p.as_str()));
                let unknown = || TrustError::UnknownRole { role: role.to_owned() };
                Authority::of_delegation(above.ok_or_else(unknown)?, role)
            }
            (product, Some(targets)) => Authority::of_delegation(targets, product),
            (_, None) => Err(TrustError::NotRefreshed),
        }
    }
}

fn fetch(source: &mut dyn Source, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
    source.fetch(path, limit).map_err(|error| TrustError::Unreachable {
        path: path.to_owned(),
        retry: error.retry(),
        source: error.into_cause(),
    })
}

/// A repository without one of its files.
struct Without<'a> {
    source: &'a mut dyn Source,
    path: String,
}

impl Source for Without<'_> {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        if path == self.path { Ok(None) } else { self.source.fetch(path, max_bytes) }
    }
}
