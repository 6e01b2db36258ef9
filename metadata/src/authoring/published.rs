//! What is published, read back through the law: everything but expiry, which must not hinder its renewal.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::AuthoringError;
use crate::Product;
use crate::layout::{self, limit};
use crate::request::Bytes;
use crate::trust::{
    Authority, Kept, RoleState, SignedFile, Source, Trust, TrustError, VerifiedTarget,
};

/// A published repository.
#[derive(Debug)]
pub struct Published {
    trust: Trust,
    roots: Vec<Vec<u8>>,
    kept: Kept,
    files: BTreeMap<String, SignedFile>,
    releases: Vec<VerifiedTarget>,
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
        let mut fetch = |path: &str, limit| {
            source.fetch(path, limit).map_err(|error| TrustError::Unreachable {
                path: path.to_owned(),
                retry: error.retry(),
                source: error.into_cause(),
            })
        };
        if fetch(layout::TIMESTAMP, limit::TIMESTAMP)?.is_none() {
            return Ok(None);
        }
        let mut roots = Vec::new();
        while let Some(root) =
            fetch(&layout::metadata("root", roots.len() as u64 + 1), limit::ROOT)?
        {
            roots.push(root);
        }
        let missing = || TrustError::Missing { path: layout::metadata("root", 1) };
        let mut trust = Trust::from_root(roots.first().ok_or_else(missing)?)?;
        // At the beginning of time nothing has expired.
        let now = Timestamp::MIN;
        trust.refresh(now, source)?;
        let mut releases = Vec::new();
        for product in trust.products() {
            releases.extend(trust.releases(&product, now, source)?.verified);
        }
        let kept = trust.kept();
        let files = kept
            .iter()
            .map(|(name, bytes)| {
                let role = name.strip_suffix(".json").unwrap_or(name);
                Ok((role.to_owned(), SignedFile::parse(role, bytes)?))
            })
            .collect::<Result<_, TrustError>>()?;
        Ok(Some(Self { trust, roots, kept, files, releases }))
    }

    /// The published version of a role.
    pub fn version(&self, role: &str) -> u64 {
        self.files.get(role).map_or(0, SignedFile::version)
    }

    /// The published file of a role, taken apart.
    pub fn file(&self, role: &str) -> Option<&SignedFile> {
        self.files.get(role)
    }

    /// The published bytes of a role.
    pub(super) fn bytes(&self, role: &str) -> Option<&Vec<u8>> {
        self.kept.get(&format!("{role}.json"))
    }

    /// The products.
    pub fn products(&self) -> Vec<Product> {
        self.trust.products()
    }

    /// Every release.
    pub fn releases(&self) -> &[VerifiedTarget] {
        &self.releases
    }

    /// The release at a target path.
    pub fn release(&self, path: &str) -> Option<&VerifiedTarget> {
        self.releases.iter().find(|target| target.path() == path)
    }

    /// Versions and expiry of every role, root first.
    pub fn roles(&self) -> Vec<RoleState> {
        let mut roles = self.trust.roles();
        roles.extend(self.trust.products().iter().filter_map(|product| {
            let file = self.files.get(product.as_str())?;
            let (role, version, expires) = (file.role().to_owned(), file.version(), file.expires());
            Some(RoleState { role, version, expires })
        }));
        roles
    }

    /// What a client that followed every publication has on its disk.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
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
            (product, Some(targets)) => Authority::of_delegation(targets, product),
            (_, None) => Err(TrustError::NotRefreshed),
        }
    }
}
