//! What a trusted product role yields: verified targets, and the refused ones with their reasons.

use super::law::{Entry, ProductRole};
use std::collections::{BTreeMap, BTreeSet};

use crate::layout::{self, limit};
use crate::release::BadRelease;
use crate::{Delta, Product, PublicKey, Release, Rollout, Sha256, Version, delta};

/// A key, and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    key: PublicKey,
    label: String,
}

impl Signer {
    pub(super) fn new(key: PublicKey, label: String) -> Self {
        Self { key, label }
    }

    /// A key that nobody has named.
    pub fn unnamed(key: PublicKey) -> Self {
        Self::new(key, String::new())
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its label in the signed metadata, or an empty text. For people only: nothing is decided by it.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.label.as_str() {
            "" => write!(f, "key {}", self.key.id().short()),
            label => f.write_str(label),
        }
    }
}

/// The targets of one product's role.
#[derive(Clone, Debug, Default)]
pub struct Releases {
    /// Those that are releases of this product, by path.
    pub verified: Vec<VerifiedTarget>,
    /// Those that are not, by path, each with its reason. They spoil nothing but themselves.
    pub refused: Vec<(String, BadRelease)>,
    /// The versions that nodes must leave and never enter: what the role revokes, and what its releases revoke.
    /// They are still among `verified`, so that a node can say what it leaves.
    pub revoked: BTreeSet<Version>,
    /// When nodes take which version, as the role says it.
    pub(super) rollouts: BTreeMap<String, serde_json::Value>,
}

impl Releases {
    /// Reads every entry of a trusted role as a release of `product`: the birthplace of [`VerifiedTarget`].
    pub(super) fn read(product: &Product, role: ProductRole) -> Self {
        let ProductRole { version, threshold, signers, entries, revoked, rollouts } = role;
        let mut releases = Self { revoked, rollouts, ..Self::default() };
        for Entry { path, length, sha256, custom, delegated } in entries {
            let refuse = |reason: &str| BadRelease::NoRelease {
                path: path.clone(),
                reason: reason.to_owned(),
            };
            let read = || {
                if !delegated {
                    return Err(BadRelease::NotDelegated { path: path.clone() });
                }
                let digest: Option<Sha256> = sha256.and_then(|text| text.parse().ok());
                let sha256 = digest.ok_or_else(|| refuse("no SHA-256 digest in lower case"))?;
                if length > limit::ARTIFACT {
                    return Err(refuse("it is longer than an artifact may be"));
                }
                let release = Release::from_custom(&path, custom.as_ref())?;
                if release.product != *product {
                    return Err(refuse("it is a release of another product"));
                }
                Ok((release, sha256, delta::from_custom(custom.as_ref())))
            };
            match read() {
                Ok((release, sha256, deltas)) => releases.verified.push(VerifiedTarget {
                    path,
                    release,
                    deltas,
                    length,
                    sha256,
                    signers: signers.clone(),
                    threshold,
                    role_version: version,
                    revoked: false,
                    rollout: Rollout::default(),
                }),
                Err(reason) => releases.refused.push((path, reason)),
            }
        }
        releases.mark();
        releases
    }

    /// Takes another role's releases in. Rollouts are the index's to say.
    pub(super) fn join(&mut self, other: Self) {
        self.verified.extend(other.verified);
        self.refused.extend(other.refused);
        self.revoked.extend(other.revoked);
    }

    /// Marks what is revoked, by the role or by a release.
    pub(super) fn mark(&mut self) {
        let by_releases = self.verified.iter().flat_map(|t| t.release.revokes.iter().cloned());
        self.revoked.extend(by_releases.collect::<Vec<_>>());
        for mut target in std::mem::take(&mut self.verified) {
            target.revoked = self.revoked.contains(&target.release.version);
            let said = self.rollouts.get(&target.release.version.to_string());
            match said.map_or(Ok(Rollout::default()), Rollout::read) {
                Ok(rollout) => self.verified.push(VerifiedTarget { rollout, ..target }),
                // "Wait" may be what it says: a release whose rollout cannot be read is not taken.
                Err(source) => {
                    let path = target.path;
                    self.refused.push((path.clone(), BadRelease::Rollout { path, source }));
                }
            }
        }
    }
}

/// A target that a threshold of keyholders has signed as this release of its product.
///
/// Its one birthplace is [`super::Trust::releases`]:
///
/// ```compile_fail,E0451
/// # fn forge(good: countersign_metadata::trust::VerifiedTarget) {
/// use countersign_metadata::trust::VerifiedTarget;
/// let forged = VerifiedTarget { threshold: 0, ..good };
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedTarget {
    path: String,
    release: Release,
    deltas: Vec<Delta>,
    length: u64,
    sha256: Sha256,
    signers: Vec<Signer>,
    threshold: usize,
    role_version: u64,
    revoked: bool,
    rollout: Rollout,
}

impl VerifiedTarget {
    /// What it is.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Its TUF target path: `PRODUCT/VERSION/PRODUCT-VERSION-PLATFORM.tar.zst`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The length of the `.tar.zst` as served, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of the `.tar.zst` as served. The artifact's identity is `release().artifact.sha256`.
    pub fn sha256(&self) -> &Sha256 {
        &self.sha256
    }

    /// What turns other artifacts into it, signed with it.
    pub fn deltas(&self) -> &[Delta] {
        &self.deltas
    }

    /// The distinct keys that signed it.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// How many of them were needed.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The version of the product's role that lists it.
    pub fn role_version(&self) -> u64 {
        self.role_version
    }

    /// Whether its version is revoked: a node must leave it and never enter it.
    pub fn revoked(&self) -> bool {
        self.revoked
    }

    /// When nodes take it, as its keyholders say it.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// Where it lies in the repository.
    pub fn served_at(&self) -> String {
        layout::target(&self.path, &self.sha256)
    }
}
