//! What is published, read back through the law: everything but expiry, which must not hinder its renewal.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::AuthoringError;
use super::accept::SignedRole;
use crate::layout::{self, limit};
use crate::request::Bytes;
use crate::trust::{
    Authority, Kept, RoleState, SignedFile, Source, SourceError, Trust, TrustError, VerifiedTarget,
};
use crate::{Product, Version};

/// A published repository.
#[derive(Debug)]
pub struct Published {
    trust: Trust,
    roots: Vec<Vec<u8>>,
    kept: Kept,
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
        let kept = trust.kept();
        let files = kept
            .iter()
            .map(|(name, bytes)| {
                let role = name.strip_suffix(".json").unwrap_or(name);
                Ok((role.to_owned(), SignedFile::parse(role, bytes)?))
            })
            .collect::<Result<_, TrustError>>()?;
        Ok(Self { trust, roots, kept, files, releases, revoked })
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

    /// Whether this very version of a role is published.
    pub(super) fn has(&self, new: &SignedRole) -> bool {
        let message = SignedFile::parse(&new.role, &new.bytes);
        let file = self.files.get(&new.role);
        file.zip(message.ok()).is_some_and(|(file, new)| file.message() == new.message())
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
