//! A release: what a target's signed `custom` field says about it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::node::BadNode;
use crate::rollout::BadRollout;
use crate::{ActionId, NodeSpec, Platform, Product, Sha256, Version};

/// The format that this code writes.
pub const FORMAT: u32 = 1;

/// The key below `custom` in TUF targets metadata.
pub const NAMESPACE: &str = "countersign";

/// One product, one version, one platform: signed together, so that none can be relabelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The format of this object: 1. A node refuses a higher one by name.
    pub format: u32,
    /// What it is.
    pub product: Product,
    /// Which one.
    pub version: Version,
    /// Where it runs.
    pub platform: Platform,
    /// The canonical tar: the identity that rebuilders compare.
    pub artifact: Blob,
    /// The canonical tar of the source, stored as an input.
    pub source: Blob,
    /// SHA-256 of `countersign.toml`.
    pub recipe: Sha256,
    /// SHA-256 of `countersign.lock`.
    pub lock: Sha256,
    /// What it was built in.
    pub environment: Environment,
    /// Every locked input, stored under `inputs/`.
    pub inputs: Vec<Input>,
    /// How it runs; absent for what is not a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeSpec>,
    /// A barrier: the oldest version that may be followed directly by this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Version>,
    /// Wire protocol versions it speaks, oldest and newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<(u32, u32)>,
    /// How pressing it is.
    #[serde(default)]
    pub urgency: Urgency,
    /// Versions of this product that nodes must leave.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revokes: BTreeSet<Version>,
    /// What each operator must do before this version may run, in words: a node waits until that was accepted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub actions: BTreeMap<ActionId, String>,
    /// What changed, in a few words.
    #[serde(default)]
    pub notes: String,
}

/// Most required actions of a release.
const MAX_ACTIONS: usize = 16;

/// Longest text of a required action, in characters.
const MAX_ACTION: usize = 300;

/// Bytes known by digest and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Their digest.
    pub sha256: Sha256,
    /// Their length in bytes.
    pub length: u64,
}

/// A locked input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name, without the host of a registry: `crates:NAME@VERSION`, `npm:NAME@VERSION`, `debian:NAME=VERSION/FILE`.
    pub name: String,
    /// Its bytes.
    #[serde(flatten)]
    pub blob: Blob,
}

/// The environment of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// What kind of environment.
    pub kind: EnvironmentKind,
    /// Digest over everything in it.
    pub sha256: Sha256,
}

/// What kind of environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentKind {
    /// The machine's own toolchain, read-only and digested. Only a machine with the same one can reproduce it.
    Host,
    /// Debian packages, unpacked by rule from inputs that are stored with the release.
    Debian,
    /// The layers of a container image, stored with the release.
    Oci,
}

impl EnvironmentKind {
    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Debian => "debian",
            Self::Oci => "oci",
        }
    }
}

/// How pressing a release is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// Whenever it suits.
    Low,
    /// The usual.
    #[default]
    Normal,
    /// Soon: the operator's shorter floor applies.
    Urgent,
}

/// A release that makes no sense, or is not the one that its target path promises.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BadRelease {
    /// Written by a newer Countersign.
    #[error("release format {0} is newer than this program knows ({FORMAT})")]
    Newer(u32),
    /// The path in the targets role promises something else: a relabelled artifact.
    #[error("target path {path:?} does not belong to {product} {version} {platform}")]
    Relabelled {
        /// The path.
        path: String,
        /// What the signed release says it is.
        product: Product,
        /// What the signed release says it is.
        version: Version,
        /// What the signed release says it is.
        platform: Platform,
    },
    /// The role that lists it was given no say over this path.
    #[error("target path {path:?} is outside of what is delegated to the role that lists it")]
    NotDelegated {
        /// The path.
        path: String,
    },
    /// No `custom.countersign` object, or not of this shape.
    #[error("target {path:?} carries no release: {reason}")]
    NoRelease {
        /// The path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// What it asks of operators is not for people's eyes.
    #[error(
        "the required action {0:?} is not one of at most 16, with 1 to 300 printable characters"
    )]
    Action(ActionId),
    /// What its role says about when nodes take it.
    #[error("target {path:?} has a rollout that cannot be followed")]
    Rollout {
        /// The path.
        path: String,
        /// What is wrong.
        source: BadRollout,
    },
    /// Its `[node]` makes no sense.
    #[error(transparent)]
    Node(#[from] BadNode),
}

impl Release {
    /// The TUF target path: `PRODUCT/VERSION/PRODUCT-VERSION-PLATFORM.tar.zst`.
    pub fn target_path(&self) -> String {
        target_path(&self.product, &self.version, &self.platform)
    }

    /// The artifact's file name.
    pub fn file_name(&self) -> String {
        let Self { product, version, platform, .. } = self;
        format!("{product}-{version}-{platform}.tar.zst")
    }

    /// Reads the release below a target's `custom` field and binds it to the target's path.
    ///
    /// # Errors
    /// The field is missing or malformed, newer than this program, or belongs to another path.
    pub fn from_custom(path: &str, custom: Option<&serde_json::Value>) -> Result<Self, BadRelease> {
        let no = |reason: String| BadRelease::NoRelease { path: path.to_owned(), reason };
        let value = custom
            .and_then(|c| c.get(NAMESPACE))
            .ok_or_else(|| no(format!("no {NAMESPACE:?} in its custom field")))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if format != u64::from(FORMAT) {
            return Err(BadRelease::Newer(u32::try_from(format).unwrap_or(u32::MAX)));
        }
        let release: Self = serde_json::from_value(value.clone()).map_err(|e| no(e.to_string()))?;
        if release.target_path() != path {
            let Self { product, version, platform, .. } = release;
            return Err(BadRelease::Relabelled {
                path: path.to_owned(),
                product,
                version,
                platform,
            });
        }
        if let Some(node) = &release.node {
            node.check()?;
        }
        check_actions(&release.actions)?;
        Ok(release)
    }

    /// The `custom` field that carries this release.
    ///
    /// # Errors
    /// Never for a release that was read by [`Release::from_custom`].
    pub fn to_custom(&self) -> Result<serde_json::Value, serde_json::Error> {
        Ok(serde_json::json!({ NAMESPACE: serde_json::to_value(self)? }))
    }
}

/// Checks what is asked of operators: few things, each in words that a terminal shows as they are.
///
/// # Errors
/// The first action that is too much, empty, too long or not printable.
pub fn check_actions(actions: &BTreeMap<ActionId, String>) -> Result<(), BadRelease> {
    let printable = |text: &str| {
        !text.trim().is_empty()
            && text.chars().count() <= MAX_ACTION
            && !text.chars().any(char::is_control)
    };
    let bad =
        actions.iter().enumerate().find(|(n, (_, text))| *n >= MAX_ACTIONS || !printable(text));
    bad.map_or(Ok(()), |(_, (id, _))| Err(BadRelease::Action(id.clone())))
}

/// The TUF target path of a release: `PRODUCT/VERSION/PRODUCT-VERSION-PLATFORM.tar.zst`.
pub fn target_path(product: &Product, version: &Version, platform: &Platform) -> String {
    format!("{product}/{version}/{product}-{version}-{platform}.tar.zst")
}
