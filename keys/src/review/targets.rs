//! The targets role: the top-level one, which delegates to products, and a product's, which lists releases.

use std::collections::{BTreeMap, BTreeSet};

use countersign_metadata::release::Blob;
use countersign_metadata::trust::Index;
use countersign_metadata::trusted_root::TARGET;
use countersign_metadata::{
    Delta, KeyId, Product, PublicKey, Release, Rollout, Sha256, Version, delta,
};
use serde::Deserialize;
use serde_json::Value;

use super::bins::{Below, RawBelow};
use super::file::TufFile;
use super::roles::{
    Head, Holders, Labels, Other, RawHolders, Role, all_used, holders, keys, written,
};
use crate::Refused;

/// The targets role: the top-level one, which only delegates, or a product's, which only lists releases.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    pub(crate) head: Head,
    pub(crate) delegations: BTreeMap<String, Delegation>,
    /// A product's index and bins.
    pub(crate) below: Option<Below>,
    /// What an index lists.
    pub(crate) index: Index,
    /// Releases by target path.
    pub(crate) releases: BTreeMap<String, Target>,
    /// The top-level role's `trusted_root.json`.
    pub(crate) trusted_root: Option<Blob>,
    /// Versions that nodes must leave.
    pub(crate) revoked: BTreeSet<Version>,
    /// When nodes take which version.
    pub(crate) rollouts: BTreeMap<Version, Rollout>,
    pub(crate) labels: Labels,
    pub(crate) other: Other,
}

/// A delegation to a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delegation {
    pub(crate) holders: Holders,
    pub(crate) paths: Vec<String>,
    pub(crate) terminating: bool,
}

/// A release, its file as served, and what turns other artifacts into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) release: Release,
    pub(crate) served: Blob,
    pub(crate) deltas: Vec<Delta>,
}

#[derive(Deserialize)]
struct RawTargets {
    #[serde(flatten)]
    head: Head,
    targets: BTreeMap<String, RawTarget>,
    delegations: Option<RawDelegations>,
    #[serde(default, rename = "x-countersign-index")]
    index: Index,
    #[serde(default, rename = "x-countersign-labels")]
    labels: Labels,
    #[serde(default, rename = "x-countersign-minisign")]
    minisign: BTreeMap<KeyId, PublicKey>,
    #[serde(default, rename = "x-countersign-revoked")]
    revoked: BTreeSet<Version>,
    #[serde(default, rename = "x-countersign-rollout")]
    rollouts: BTreeMap<Version, Value>,
    #[serde(flatten)]
    other: Other,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDelegations {
    keys: BTreeMap<KeyId, Value>,
    roles: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDelegation {
    name: Product,
    keyids: Vec<KeyId>,
    threshold: usize,
    paths: Vec<String>,
    #[serde(default)]
    terminating: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    length: u64,
    hashes: RawHashes,
    custom: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHashes {
    sha256: Sha256,
}

impl Role for Targets {
    fn parse(file: &TufFile) -> Result<Self, Refused> {
        let raw: RawTargets = file.read()?;
        let what = file.what();
        written(what, &raw.minisign)?;
        let mut delegations = BTreeMap::new();
        let mut below = None;
        let product = Some(file.role()).filter(|role| *role != "targets");
        if let (Some(product), Some(raw)) = (product, &raw.delegations) {
            let keys = keys(what, raw.keys.clone())?;
            let roles = raw.roles.iter().map(|role| read::<RawBelow>(what, role));
            let roles = roles.collect::<Result<Vec<_>, _>>()?;
            below = Below::of(what, product, &keys, roles)?;
            all_used(what, &keys, below.iter().map(|b| &b.holders))?;
        } else if let Some(raw) = raw.delegations {
            let keys = keys(what, raw.keys)?;
            for role in &raw.roles {
                let RawDelegation { name, keyids, threshold, paths, terminating } =
                    read(what, role)?;
                let raw = RawHolders { keyids, threshold };
                let holders = holders(what, name.as_str(), &keys, raw)?;
                let below = format!("{name}/");
                if paths.is_empty() || !paths.iter().all(|path| path.starts_with(&below)) {
                    let field = format!("a delegation to {name} for {paths:?}, not below {below}");
                    return Err(Refused::Unexplained { what: what.to_owned(), field });
                }
                let delegation = Delegation { holders, paths, terminating };
                if delegations.insert(name.to_string(), delegation).is_some() {
                    return Err(Refused::malformed(what, format!("it delegates to {name} twice")));
                }
            }
            all_used(what, &keys, delegations.values().map(|d| &d.holders))?;
        }
        let mut releases = BTreeMap::new();
        let mut trusted_root = None;
        for (path, target) in raw.targets {
            if file.role() == "targets" && path == TARGET && target.custom.is_none() {
                let RawTarget { length, hashes: RawHashes { sha256 }, .. } = target;
                trusted_root = Some(Blob { sha256, length });
                continue;
            }
            let target = release(what, &path, target)?;
            releases.insert(path, target);
        }
        let mut rollouts = BTreeMap::new();
        for (version, said) in &raw.rollouts {
            let rollout = Rollout::read(said).map_err(|e| Refused::malformed(what, e))?;
            rollouts.insert(version.clone(), rollout);
        }
        Ok(Self {
            head: raw.head,
            delegations,
            below,
            index: raw.index,
            releases,
            trusted_root,
            revoked: raw.revoked,
            rollouts,
            labels: raw.labels,
            other: raw.other,
        })
    }

    fn head(&self) -> &Head {
        &self.head
    }
}

fn read<T: serde::de::DeserializeOwned>(what: &str, value: &Value) -> Result<T, Refused> {
    T::deserialize(value).map_err(|e| Refused::malformed(what, e))
}

/// A release that says exactly what its signed `custom` field says, and nothing besides.
fn release(what: &str, path: &str, raw: RawTarget) -> Result<Target, Refused> {
    let malformed = |e: &dyn std::fmt::Display| Refused::malformed(what, e);
    let release = Release::from_custom(path, raw.custom.as_ref()).map_err(|e| malformed(&e))?;
    let deltas = delta::from_custom(raw.custom.as_ref());
    if Some(delta::to_custom(&release, &deltas).map_err(|e| malformed(&e))?) != raw.custom {
        let field = format!("fields in the release at {path:?}");
        return Err(Refused::Unexplained { what: what.to_owned(), field });
    }
    let served = Blob { sha256: raw.hashes.sha256, length: raw.length };
    Ok(Target { release, served, deltas })
}
