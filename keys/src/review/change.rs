//! What a request changes, one change a value: a sentence for people, an object for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use countersign_metadata::release::Blob;
use countersign_metadata::trusted_root::Party;
use countersign_metadata::{Delta, KeyId, Platform, Product, Release, Rollout, Version};
use serde::Serialize;

use super::facts::{difference, facts};
use super::printable;
use super::roles::Holders;
use super::targets::{Delegation, Target};

/// A key as a keyholder compares it: its whole identifier, and the name that the metadata gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedKey {
    /// Its identifier, derived from the key.
    pub id: KeyId,
    /// Its label in the metadata; may be empty.
    pub label: String,
}

impl NamedKey {
    pub(crate) fn new(id: KeyId, labels: &BTreeMap<KeyId, String>) -> Self {
        Self { id, label: labels.get(&id).cloned().unwrap_or_default() }
    }
}

impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = if self.label.is_empty() { "(no label)" } else { &self.label };
        write!(f, "{}, key id {}", printable(label), self.id)
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A key may sign a role from now on.
    KeyAdded {
        /// The role or product.
        role: String,
        /// The key.
        key: NamedKey,
    },
    /// A key may no longer sign a role.
    KeyRemoved {
        /// The role or product.
        role: String,
        /// The key.
        key: NamedKey,
    },
    /// A key gets another name.
    Relabelled {
        /// The key, under its new name.
        key: NamedKey,
        /// Its old name.
        from: String,
    },
    /// How many keys must sign.
    Threshold {
        /// The role or product.
        role: String,
        /// Before, if there was a before.
        from: Option<usize>,
        /// From now on.
        to: usize,
        /// Of how many keys.
        of: usize,
    },
    /// A product gets keyholders of its own, or other paths.
    Delegated {
        /// The product.
        role: String,
        /// What it may sign for.
        paths: Vec<String>,
        /// Whether nobody else is asked about these paths.
        terminating: bool,
        /// Whether the product had a delegation before.
        before: bool,
    },
    /// A product is no longer delegated.
    DelegationRemoved {
        /// The product.
        role: String,
    },
    /// A release is published.
    ReleaseAdded {
        /// What it is.
        release: Box<Release>,
        /// The file as served.
        served: Blob,
        /// What turns other artifacts into it.
        deltas: Vec<Delta>,
    },
    /// A published release gets another description or other bytes.
    ReleaseChanged {
        /// What it was.
        was: Box<Release>,
        /// What it becomes.
        release: Box<Release>,
        /// The file as served.
        served: Blob,
        /// What turns other artifacts into it.
        deltas: Vec<Delta>,
    },
    /// A release is taken back.
    ReleaseRemoved {
        /// What it was.
        release: Box<Release>,
    },
    /// Nodes must leave a version, or need not any more.
    Revoked {
        /// The product.
        role: String,
        /// The version.
        version: Version,
        /// Whether it is revoked from now on; else it was.
        now: bool,
    },
    /// When nodes take a version is said anew.
    Rollout {
        /// The product.
        role: String,
        /// The version.
        version: Version,
        /// What was said.
        from: Rollout,
        /// What is said from now on.
        to: Rollout,
    },
    /// A product keeps its releases in bins, or in its own role.
    Bins {
        /// The product.
        role: String,
        /// How many bins there were.
        from: Option<u32>,
        /// How many there are from now on.
        to: Option<u32>,
    },
    /// An index lists a release as one that a node may want next, or no longer.
    Listed {
        /// The index.
        role: String,
        /// The platform.
        platform: Platform,
        /// The release's version.
        version: Version,
        /// Its barrier.
        follows: Option<Version>,
        /// Whether it is listed from now on; else it was.
        now: bool,
    },
    /// Nodes believe keyless statements by another `trusted_root.json`, or by none.
    TrustedRoot {
        /// What it was.
        was: Option<Blob>,
        /// What it becomes.
        now: Option<Blob>,
        /// Who is in the new one; `None` where the file did not travel with the request.
        parties: Option<Vec<Party>>,
    },
    /// A file of the repository gets a new version.
    FileVersion {
        /// Its name.
        file: String,
        /// Before, if it was there.
        from: Option<u64>,
        /// From now on.
        to: u64,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyAdded { role, key } => write!(f, "+ {role}: {key} may sign"),
            Self::KeyRemoved { role, key } => write!(f, "- {role}: {key} may no longer sign"),
            Self::Relabelled { key, from } => {
                write!(f, "! a key that was called {:?} is now called: {key}", printable(from))
            }
            Self::Threshold { role, from: None, to, of } => {
                write!(f, "+ {role}: {to} of {of} keys must sign")
            }
            Self::Threshold { role, from: Some(from), to, of } => {
                let sign = if to < from { "! LOWER:" } else { "~" };
                write!(f, "{sign} {role}: {to} of {of} keys must sign (before: {from})")
            }
            Self::Delegated { role, paths, terminating, before } => {
                let (sign, said) = if *before { ("~", "now covers") } else { ("+", "covers") };
                let paths: Vec<_> = paths.iter().map(|p| printable(p)).collect();
                write!(f, "{sign} product {role} {said} {}", paths.join(" "))?;
                if *terminating { Ok(()) } else { f.write_str(", and later roles may too") }
            }
            Self::DelegationRemoved { role } => {
                write!(f, "- product {role} is no longer delegated: nobody can release it")
            }
            Self::ReleaseAdded { release, served, deltas } => {
                let Release { product, version, platform, .. } = &**release;
                write!(f, "+ release {product} {version} for {platform}")?;
                facts(release)
                    .into_iter()
                    .chain(super::facts::served(served, deltas))
                    .try_for_each(|(name, value)| write!(f, "\n      {name:<13}{value}"))
            }
            Self::ReleaseChanged { was, release, served, deltas } => {
                let Release { product, version, platform, .. } = &**release;
                write!(
                    f,
                    "! release {product} {version} for {platform}, published before, CHANGES"
                )?;
                for (name, from, to) in difference(was, release) {
                    write!(f, "\n      {name:<13}{to}\n      {:<13}before: {from}", "")?;
                }
                super::facts::served(served, deltas)
                    .into_iter()
                    .try_for_each(|(name, value)| write!(f, "\n      {name:<13}{value}"))
            }
            Self::ReleaseRemoved { release } => {
                let Release { product, version, platform, .. } = &**release;
                write!(f, "- release {product} {version} for {platform} is taken back")
            }
            Self::Revoked { role, version, now: true } => {
                write!(f, "! {role} {version} is REVOKED: nodes must leave it")
            }
            Self::Revoked { role, version, now: false } => {
                write!(f, "! {role} {version}, revoked before, is NO LONGER revoked")
            }
            Self::Rollout { role, version, from, to } => {
                let sign = if to.cancelled.is_some() { "!" } else { "~" };
                let (from, to) = (printable(&from.to_string()), printable(&to.to_string()));
                write!(f, "{sign} rollout of {role} {version}: {to}\n      before: {from}")
            }
            Self::Bins { role, from, to } => {
                let bins = |count: &Option<u32>| {
                    count.map_or("its own role".to_owned(), |n| format!("{n} bins"))
                };
                write!(f, "~ {role} keeps its releases in {} (before: {})", bins(to), bins(from))
            }
            Self::Listed { role, platform, version, follows, now } => {
                let (sign, said) = if *now { ("+", "lists") } else { ("-", "no longer lists") };
                write!(f, "{sign} {role} {said} {version} for {platform}")?;
                follows.iter().try_for_each(|v| write!(f, ", for nodes at {v} or later"))
            }
            Self::TrustedRoot { was, now, parties } => {
                super::instance::words(f, was.as_ref(), now.as_ref(), parties.as_deref())
            }
            Self::FileVersion { file, from: Some(from), to } => {
                write!(f, "~ {}: version {from} becomes {to}", printable(file))
            }
            Self::FileVersion { file, from: None, to } => {
                write!(f, "+ {}: version {to}", printable(file))
            }
        }
    }
}

type Labels = BTreeMap<KeyId, String>;

/// Changes of who signs what. `before` is empty where nothing is known before.
pub(crate) fn holders<'a>(
    before: &BTreeMap<String, Holders>,
    after: impl IntoIterator<Item = (&'a String, &'a Holders)>,
    old: &Labels,
    new: &Labels,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for (role, now) in after {
        let was = before.get(role);
        let had = |id: &KeyId| was.is_some_and(|w| w.keys.contains_key(id));
        for id in now.keys.keys().filter(|id| !had(id)) {
            changes.push(Change::KeyAdded { role: role.clone(), key: NamedKey::new(*id, new) });
        }
        let gone = was.into_iter().flat_map(|w| w.keys.keys());
        for id in gone.filter(|id| !now.keys.contains_key(id)) {
            changes.push(Change::KeyRemoved { role: role.clone(), key: NamedKey::new(*id, old) });
        }
        let from = was.map(|w| w.threshold);
        let of = now.keys.len();
        if from != Some(now.threshold) || was.is_some_and(|w| w.keys.len() != of) {
            changes.push(Change::Threshold { role: role.clone(), from, to: now.threshold, of });
        }
    }
    changes
}

/// Changes of names of keys that stay.
pub(crate) fn labels(old: &Labels, new: &Labels) -> Vec<Change> {
    old.iter()
        .filter_map(|(id, from)| {
            let to = new.get(id)?;
            (to != from).then(|| Change::Relabelled {
                key: NamedKey { id: *id, label: to.clone() },
                from: from.clone(),
            })
        })
        .collect()
}

/// Changes of delegations, besides their keys.
pub(crate) fn delegations(
    before: &BTreeMap<String, Delegation>,
    after: &BTreeMap<String, Delegation>,
) -> Vec<Change> {
    let changed = after.iter().filter_map(|(role, now)| {
        let was = before.get(role);
        let same = was.is_some_and(|w| (&w.paths, w.terminating) == (&now.paths, now.terminating));
        (!same).then(|| Change::Delegated {
            role: role.clone(),
            paths: now.paths.clone(),
            terminating: now.terminating,
            before: was.is_some(),
        })
    });
    let gone = before.keys().filter(|role| !after.contains_key(*role));
    changed.chain(gone.map(|role| Change::DelegationRemoved { role: role.clone() })).collect()
}

/// Changes of what is revoked.
pub(crate) fn revocations(
    product: &Product,
    before: &BTreeSet<Version>,
    after: &BTreeSet<Version>,
) -> Vec<Change> {
    let change = |version: &Version, now| Change::Revoked {
        role: product.to_string(),
        version: version.clone(),
        now,
    };
    let new = after.difference(before).map(|version| change(version, true));
    new.chain(before.difference(after).map(|version| change(version, false))).collect()
}

/// Changes of when nodes take which version.
pub(crate) fn rollouts(
    product: &Product,
    before: Option<&BTreeMap<Version, Rollout>>,
    after: &BTreeMap<Version, Rollout>,
) -> Vec<Change> {
    let said = |all: Option<&BTreeMap<Version, Rollout>>, version: &Version| {
        all.and_then(|all| all.get(version)).cloned().unwrap_or_default()
    };
    let versions: BTreeSet<_> = before.into_iter().flatten().chain(after).map(|(v, _)| v).collect();
    let change = |version: &Version| {
        let (from, to) = (said(before, version), said(Some(after), version));
        let (role, version) = (product.to_string(), version.clone());
        (from != to).then_some(Change::Rollout { role, version, from, to })
    };
    versions.into_iter().filter_map(change).collect()
}

/// Changes of releases.
pub(crate) fn releases(
    before: &BTreeMap<String, Target>,
    after: &BTreeMap<String, Target>,
) -> Vec<Change> {
    let boxed = |target: &Target| Box::new(target.release.clone());
    let added = after.iter().filter_map(|(path, now)| match before.get(path) {
        None => Some(Change::ReleaseAdded {
            release: boxed(now),
            served: now.served,
            deltas: now.deltas.clone(),
        }),
        Some(was) if was == now => None,
        Some(was) => Some(Change::ReleaseChanged {
            was: boxed(was),
            release: boxed(now),
            served: now.served,
            deltas: now.deltas.clone(),
        }),
    });
    let gone = before.iter().filter(|(path, _)| !after.contains_key(*path));
    let gone = gone.map(|(_, was)| Change::ReleaseRemoved { release: boxed(was) });
    added.chain(gone).collect()
}
