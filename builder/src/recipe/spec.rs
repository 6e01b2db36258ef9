//! What a recipe can say, field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use countersign_metadata::release::{EnvironmentKind, Urgency};
use countersign_metadata::{ActionId, NodeSpec, Product, Sha256, Version};
use serde::Deserialize;

use crate::Inside;
use crate::inputs::package::Package;
use crate::pack::Normalise;
use crate::source::git::CommitId;

/// 2026-01-01T00:00:00Z.
const DEFAULT_EPOCH: u64 = 1_767_225_600;

/// What a recipe says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecipeSpec {
    /// What is built.
    pub product: Product,
    /// Which version.
    pub version: Version,
    /// What changed, in a few words.
    #[serde(default)]
    pub notes: String,
    /// How pressing it is.
    #[serde(default)]
    pub urgency: Urgency,
    /// The oldest version that may be followed directly by this one.
    #[serde(default)]
    pub follows: Option<Version>,
    /// Wire protocol versions it speaks, oldest and newest.
    #[serde(default)]
    pub protocol: Option<(u32, u32)>,
    /// Versions that nodes must leave.
    #[serde(default)]
    pub revokes: BTreeSet<Version>,
    /// What each operator must do before this version may run: a name each, and words.
    #[serde(default)]
    pub actions: BTreeMap<ActionId, String>,
    /// Where the source comes from.
    pub source: SourceSpec,
    /// What it is built with.
    pub environment: EnvironmentSpec,
    /// How it is built.
    pub build: BuildSpec,
    /// Further inputs, by where they lie below the source directory.
    #[serde(default)]
    pub inputs: BTreeMap<Inside, InputSpec>,
    /// Path in the artifact = path below the source directory after the build.
    pub outputs: BTreeMap<Inside, Inside>,
    /// How it runs.
    #[serde(default)]
    pub node: Option<NodeSpec>,
}

/// Where the source comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum SourceSpec {
    /// The recipe's own directory.
    Directory,
    /// One commit of a git repository.
    Git {
        /// The repository: `https://`, `http://`, `ssh://`, `git://`, or a directory of this machine.
        url: String,
        /// All of its digits.
        commit: CommitId,
    },
    /// An archive: a zip, or a tar, plain or compressed with gzip, bzip2, xz or zstd.
    Archive {
        /// Where it is.
        url: String,
        /// What it is.
        sha256: Sha256,
        /// Whether the one directory that holds all is taken off.
        #[serde(default = "yes")]
        strip: bool,
    },
    /// A Debian source package, unpacked without its patches applied.
    Debian {
        /// `NAME=VERSION` of the source package.
        package: String,
        /// Which of its archives; all of them where absent.
        #[serde(default)]
        files: Vec<String>,
        /// Digests, by file name; where absent, apt's own metadata must know them. That of the `.dsc` is enough.
        #[serde(default)]
        sha256: BTreeMap<String, Sha256>,
    },
    /// The source of a package as its registry has it.
    Package {
        /// `crates:NAME@VERSION`, `npm:NAME@VERSION` or `pypi:NAME==VERSION`.
        package: Package,
        /// What it is; where absent, what its registry says when it is locked.
        #[serde(default)]
        sha256: Option<Sha256>,
    },
}

/// A further input: exactly one of `url`, `package` and `file`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InputSpec {
    /// Anything on a web server; needs its digest.
    #[serde(default)]
    pub url: Option<String>,
    /// A package as its registry has it.
    #[serde(default)]
    pub package: Option<Package>,
    /// A file beside the recipe.
    #[serde(default)]
    pub file: Option<Inside>,
    /// What it is.
    #[serde(default)]
    pub sha256: Option<Sha256>,
}

/// What it is built with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EnvironmentSpec {
    /// `host`: the machine's own toolchain, read-only and digested. `debian`: locked packages. `oci`: an image's layers.
    pub kind: EnvironmentKind,
    /// Sets of tools.
    #[serde(default)]
    pub tools: BTreeSet<Tool>,
    /// Further packages: for `host` of those that the machine has installed, for `debian` of those that apt knows.
    #[serde(default)]
    pub packages: BTreeSet<String>,
    /// For `debian` with Rust: its channel, `stable` or a version; else what the source's toolchain file says.
    #[serde(default)]
    pub rust: Option<String>,
    /// For `oci`: the image, from the recipe's directory. It is read when the recipe is locked, and not afterwards.
    #[serde(default)]
    pub image: Option<PathBuf>,
    /// For `oci`: the digest that the image must have: of its manifest, or of the tar of a root file system.
    #[serde(default)]
    pub sha256: Option<Sha256>,
}

/// A set of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// `rustc`, `cargo` and the standard library. rustc links with `cc`, so it brings [`Tool::C`] along.
    Rust,
    /// `cc`, `ld`, `ar`, `make` and the C library's headers.
    C,
}

/// How it is built.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BuildSpec {
    /// Each run by `sh -euc` in the source directory.
    pub steps: Vec<String>,
    /// `Cargo.lock` files whose crates are fetched beforehand and provided offline.
    #[serde(default)]
    pub cargo_lock: Vec<Inside>,
    /// `package-lock.json` files (format 2 or 3) whose packages npm finds in its cache.
    #[serde(default)]
    pub package_lock: Vec<Inside>,
    /// Requirements with hashes whose files pip finds in a directory.
    #[serde(default)]
    pub requirements: Vec<Inside>,
    /// Seconds since 1970: `SOURCE_DATE_EPOCH`, and the time of every file laid out and packed.
    #[serde(default = "default_epoch")]
    pub source_date_epoch: u64,
    /// The clock that the build reads.
    #[serde(default)]
    pub clock: ClockSpec,
    /// Where the build's random bytes come from.
    #[serde(default)]
    pub random: RandomSpec,
    /// How many CPUs the build sees, whatever the machine has; 1 to 64.
    #[serde(default = "two")]
    pub cpus: u32,
    /// Further environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What is taken out of the outputs before they are packed.
    #[serde(default)]
    pub normalise: BTreeSet<Normalise>,
    /// What it may use up.
    #[serde(default)]
    pub limits: LimitsSpec,
}

/// The clock that a build reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSpec {
    /// The machine's.
    #[default]
    Real,
    /// Begins at `source-date-epoch` and goes on from there.
    Held,
}

/// Where a build's random bytes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RandomSpec {
    /// The kernel.
    #[default]
    Real,
    /// A stream that is the same each time. Whatever is made of it is no secret.
    Held,
}

/// What a build may use up.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitsSpec {
    /// MiB of memory, scratch space included; without it the machine's own limit.
    pub memory_mib: Option<u64>,
    /// Processes and threads at once.
    pub processes: u64,
    /// Seconds.
    pub wall_seconds: u64,
    /// MiB of files below the build directory, and of outputs.
    pub scratch_mib: u64,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { memory_mib: None, processes: 4096, wall_seconds: 3600, scratch_mib: 4096 }
    }
}

fn default_epoch() -> u64 {
    DEFAULT_EPOCH
}

fn yes() -> bool {
    true
}

fn two() -> u32 {
    2
}
