//! Environments: what a build is made with, as one read-only tree known by one digest.
//!
//! A `host` environment is gathered from the machine: with dpkg, the essential packages and those that own the
//! asked-for tools, with everything they depend on; without dpkg, all of `/usr`. Rust's sysroot comes beside it, at
//! [`RUST`]. The tree is copied once to `CACHE/environments/DIGEST/`, and a build sees the copy only.
//!
//! The digest is SHA-256 over the sorted [`Listing`]: it depends on paths inside the tree, execute bits, link
//! targets and contents; not on the machine's user, paths or times.

mod digests;
mod dpkg;
mod gather;
mod listing;
mod rust;
mod store;

use std::path::{Path, PathBuf};

use countersign_metadata::release::{Environment, EnvironmentKind};
use countersign_sandbox::Mount;

use crate::recipe::{EnvironmentSpec, Tool};
use gather::Gathered;

pub use listing::Listing;
pub use rust::Toolchain;
pub(crate) use rust::version_in as rust_version;

/// Where Rust's sysroot lies inside.
pub const RUST: &str = "opt/rust";

/// An environment that is there, whole, and has been seen to have its digest.
#[derive(Clone, Debug)]
pub struct BuildEnvironment {
    root: PathBuf,
    identity: Environment,
    parts: Vec<String>,
    rust: bool,
    whole_machine: bool,
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Packages are not installed.
    #[error("the environment needs packages that are not installed: {}", .0.join(", "))]
    NoPackages(Vec<String>),
    /// Rust is asked for and not there.
    #[error("the environment needs Rust: {0}")]
    NoRust(String),
    /// The machine has no package manager that could say what belongs to a tool.
    #[error("packages {0:?} are named, but this machine has no dpkg that knows them")]
    NoDpkg(Vec<String>),
    /// A program of the machine failed.
    #[error("cannot run {program}")]
    Program {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something cannot be read or written.
    #[error("cannot gather the environment: {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The copy is not what was digested: the machine changed meanwhile.
    #[error("the machine's tools changed while they were copied; try again")]
    Changed,
}

impl EnvironmentError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl BuildEnvironment {
    /// Gathers the environment that `spec` asks for, with this toolchain if with Rust.
    ///
    /// # Errors
    /// A tool is missing, or something cannot be read or written.
    pub fn gather(
        spec: &EnvironmentSpec,
        toolchain: Toolchain<'_>,
        cache: &Path,
    ) -> Result<Self, EnvironmentError> {
        let EnvironmentSpec { kind: EnvironmentKind::Host, tools, packages } = spec;
        let mut gathered = Gathered::default();
        let whole_machine = !dpkg::is_here();
        let rust = tools.contains(&Tool::Rust);
        let mut roots: Vec<String> = packages.iter().cloned().collect();
        if rust || tools.contains(&Tool::C) {
            roots.extend(["gcc", "binutils", "make", "libc6-dev"].map(str::to_owned));
        }
        let sysroot = if rust { Some(rust::find(toolchain)?) } else { None };
        if sysroot.as_ref().is_some_and(rust::Sysroot::is_packaged) {
            roots.extend(["rustc", "cargo"].map(str::to_owned));
        }
        if whole_machine {
            if !packages.is_empty() {
                return Err(EnvironmentError::NoDpkg(packages.iter().cloned().collect()));
            }
            gather::whole_machine(&mut gathered)?;
        } else {
            dpkg::gather(&roots, &mut gathered)?;
        }
        match sysroot {
            Some(sysroot) if !sysroot.is_packaged() => sysroot.gather(&mut gathered)?,
            _ => {}
        }
        let (root, sha256) = store::enter(&gathered, cache)?;
        let identity = Environment { kind: EnvironmentKind::Host, sha256 };
        Ok(Self { root, identity, parts: gathered.parts(), rust, whole_machine })
    }

    /// The tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How the tree appears in a sandbox: its top level, each directory read-only.
    ///
    /// A link at the top (`/bin` of a merged machine) stays a link.
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        let mut mounts = Vec::new();
        for name in gather::TOPS {
            let from = self.root.join(name);
            let to = Path::new("/").join(name);
            if let Ok(target) = std::fs::read_link(&from) {
                mounts.push(Mount::Link { to, target });
            } else if from.is_dir() {
                mounts.push(Mount::ReadOnly { from, to });
            }
        }
        mounts
    }

    /// Kind and digest.
    pub fn identity(&self) -> &Environment {
        &self.identity
    }

    /// What it was gathered from, `NAME=VERSION`, sorted: for people; only the digest counts.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Whether it holds Rust.
    pub fn has_rust(&self) -> bool {
        self.rust
    }

    /// Whether it is all of the machine's `/usr`, for want of dpkg.
    pub fn is_whole_machine(&self) -> bool {
        self.whole_machine
    }
}
