//! The review of a role's version: who proves it, what it follows, what it changes.

use std::collections::BTreeMap;

use countersign_metadata::{KeyId, Sha256};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::change::{Change, NamedKey};
use super::roles::Holders;

/// A version of a role, explained.
#[derive(Debug, Serialize)]
pub struct RoleReview {
    /// `root`, `targets`, `snapshot`, `timestamp`, or a product.
    pub role: String,
    /// The version to be signed.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
    /// SHA-256 of the exact bytes to be signed.
    pub message: Sha256,
    /// What is known before it, and how that was proven.
    pub before: Before,
    /// For a product: who says who signs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegator: Option<Delegator>,
    /// Whose signatures it needs. For a root that follows another: both roots' keyholders.
    pub signers: Vec<Signers>,
    /// What it changes.
    pub changes: Vec<Change>,
    /// Fields that say nothing to this program, verbatim.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, Value>,
}

/// What is known before a version.
#[derive(Debug, Serialize)]
#[serde(tag = "known", rename_all = "kebab-case")]
pub enum Before {
    /// A first root: nothing at all.
    Nothing,
    /// The first version of a role, below a root that follows from the pinned one.
    First {
        /// The pinned root's version.
        pinned: u64,
        /// The newest root's version.
        root: u64,
    },
    /// A last version, signed as it must be.
    Last {
        /// The pinned root's version.
        pinned: u64,
        /// The newest root's version.
        root: u64,
        /// The last version.
        version: u64,
        /// When that expires.
        expires: Timestamp,
    },
    /// A last version that was signed under an earlier root: its version counts, its contents are not compared.
    Superseded {
        /// The pinned root's version.
        pinned: u64,
        /// The newest root's version.
        root: u64,
        /// The last version.
        version: u64,
        /// The root whose keyholders signed it.
        under: u64,
    },
}

/// The role that delegates to this one: targets to a product, a product to its bins and index.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delegator {
    /// Which.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// Whether its own keyholders have signed it; before its publication they may not have.
    pub signed: bool,
}

/// Keys that sign, and how many of them must.
#[derive(Debug, Serialize)]
pub struct Signers {
    /// As whom.
    pub of: String,
    /// How many must.
    pub threshold: usize,
    /// Who can.
    pub keys: Vec<NamedKey>,
}

impl Signers {
    pub(super) fn new(of: String, holders: &Holders, labels: &BTreeMap<KeyId, String>) -> Self {
        let keys = holders.keys.keys().map(|id| NamedKey::new(*id, labels)).collect();
        Self { of, threshold: holders.threshold, keys }
    }
}
