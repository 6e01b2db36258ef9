//! Environments: what a build is made with, as one read-only tree known by one digest.
//!
//! A `debian` or `oci` environment is put together from locked inputs, the same on every machine (`assemble`).
//!
//! A `host` environment is gathered from the machine: with dpkg, the essential packages and those that own the
//! asked-for tools, with everything they depend on; without dpkg, all of `/usr`. Rust's sysroot comes beside it, at
//! [`RUST`]. The tree is copied once to `CACHE/environments/DIGEST/`, and a build sees the copy only.
//!
//! The digest is SHA-256 over the sorted [`Listing`]: it depends on paths inside the tree, execute bits, link
//! targets and contents; not on the machine's user, paths or times.

mod alternatives;
mod apt;
mod assemble;
mod deb;
mod digests;
mod dist;
mod dpkg;
mod gather;
mod image;
mod layer;
mod listing;
#[cfg(test)]
#[path = "../../tests/builder/packages.rs"]
mod packages;
mod rust;
mod store;
mod tree;

use std::path::{Path, PathBuf};

use countersign_metadata::release::{Environment, EnvironmentKind, Input};
use countersign_sandbox::Mount;

use crate::inputs::{InputError, Inputs};
use crate::lock::LockSpec;
use crate::pack::UnpackError;
use crate::recipe::{EnvironmentSpec, Tool};
use gather::Gathered;

pub(crate) use assemble::is_input;
pub(crate) use dist::is_channel;
pub(crate) use image::architecture;
pub use listing::Listing;
pub use rust::Toolchain;
pub(crate) use rust::version_in as rust_version;
pub(crate) use store::{
    dir as store_dir, forget_missing, hash as hash_tree, remove as remove_tree,
};
pub use tree::TreeError;

/// Where Rust's sysroot lies inside.
pub const RUST: &str = "opt/rust";

/// What the sandbox makes itself, or the build has for its own; of an environment these are not shown.
const OWN: [&str; 10] =
    ["build", "countersign", "dev", "elsewhere", "etc", "other", "proc", "run", "sys", "tmp"];
/// The same below `/etc`.
const OWN_ETC: [&str; 7] =
    ["group", "hostname", "hosts", "machine-id", "nsswitch.conf", "passwd", "resolv.conf"];

/// An environment that is there, whole, and has been seen to have its digest.
#[derive(Clone, Debug)]
pub struct BuildEnvironment {
    root: PathBuf,
    identity: Environment,
    parts: Vec<String>,
    rust: bool,
    whole_machine: bool,
    tamed: Vec<String>,
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
    /// Packages are asked for and apt is not there.
    #[error("a debian environment is resolved and fetched by apt, which this machine has not")]
    NoApt,
    /// apt does not find what is asked for.
    #[error("apt cannot resolve the environment's packages: {0}")]
    Unresolved(String),
    /// An input of the environment is not at hand.
    #[error(transparent)]
    Input(#[from] InputError),
    /// An input of the environment is refused.
    #[error("{name} cannot be unpacked")]
    Unpack {
        /// The input.
        name: String,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// A package is another than its name says.
    #[error("{name} holds {found}")]
    OtherPackage {
        /// The input.
        name: String,
        /// What it says about itself.
        found: String,
    },
    /// What was unpacked makes no tree.
    #[error("the environment makes no tree")]
    Tree(#[from] TreeError),
    /// An image is refused.
    #[error("the image {path} is refused: {what}")]
    Image {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
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
    /// Resolves the environment that the recipe in `dir` asks for, and has it at hand, with the inputs to be locked.
    ///
    /// # Errors
    /// Something cannot be resolved, fetched or unpacked.
    pub fn resolve(
        spec: &EnvironmentSpec,
        dir: &Path,
        inputs: &Inputs,
        cache: &Path,
        now: &dyn Fn(&str),
    ) -> Result<(Self, Vec<Input>), EnvironmentError> {
        if spec.kind == EnvironmentKind::Host {
            return Ok((Self::gather(spec, Toolchain::Of(dir), cache)?, Vec::new()));
        }
        let assemble::Resolved { parts, inputs: locked } =
            assemble::resolve(spec, dir, inputs, cache, now)?;
        Ok((Self::assemble(spec, parts, &locked, inputs, cache, now)?, locked))
    }

    /// The environment that is locked, put together from the lock's inputs; one of `host` is gathered
    /// again, with this toolchain, and may come out as another.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn locked(
        spec: &EnvironmentSpec,
        lock: &LockSpec,
        toolchain: Toolchain<'_>,
        inputs: &Inputs,
        cache: &Path,
        now: &dyn Fn(&str),
    ) -> Result<Self, EnvironmentError> {
        if spec.kind == EnvironmentKind::Host {
            return Self::gather(spec, toolchain, cache);
        }
        let locked: Vec<Input> = lock.inputs.iter().filter(|i| is_input(i)).cloned().collect();
        assemble::fetch(&locked, inputs, cache, now)?;
        let parts = lock.environment.parts.clone();
        Self::assemble(spec, parts, &locked, inputs, cache, now)
    }

    fn assemble(
        spec: &EnvironmentSpec,
        parts: Vec<String>,
        locked: &[Input],
        inputs: &Inputs,
        cache: &Path,
        now: &dyn Fn(&str),
    ) -> Result<Self, EnvironmentError> {
        let rust = spec.tools.contains(&Tool::Rust);
        let made = |root, sha256, tamed| {
            let identity = Environment { kind: spec.kind, sha256 };
            Self { root, identity, parts, rust, whole_machine: false, tamed }
        };
        let key = assemble::key(spec.kind, locked);
        if let Some(before) = store::remembered(&key, cache)? {
            return Ok(made(before.root, before.sha256, before.tamed));
        }
        now("unpacking the environment");
        let tree = assemble::tree(spec.kind, locked, inputs, &store::dir(cache))?;
        let (root, sha256) = store::enter_tree(&tree, cache)?;
        let tamed: Vec<String> = tree.tamed.iter().cloned().collect();
        store::remember(&key, &sha256, &tamed, cache);
        Ok(made(root, sha256, tamed))
    }

    /// Gathers the `host` environment that `spec` asks for, with this toolchain if with Rust.
    fn gather(
        spec: &EnvironmentSpec,
        toolchain: Toolchain<'_>,
        cache: &Path,
    ) -> Result<Self, EnvironmentError> {
        let EnvironmentSpec { tools, packages, .. } = spec;
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
        let (parts, tamed) = (gathered.parts(), Vec::new());
        Ok(Self { root, identity, parts, rust, whole_machine, tamed })
    }

    /// The tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How the tree appears in a sandbox: its top level and that of its `/etc`, all read-only, but for what the sandbox
    /// makes itself.
    ///
    /// A link at the top (`/bin` of a merged machine) stays a link.
    ///
    /// # Errors
    /// The tree cannot be listed.
    pub(crate) fn mounts(&self) -> std::io::Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        mount_children(&self.root, Path::new("/"), &OWN, &mut mounts)?;
        let etc = self.root.join("etc");
        if etc.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            mount_children(&etc, Path::new("/etc"), &OWN_ETC, &mut mounts)?;
        }
        Ok(mounts)
    }

    /// Files that have lost their set-uid or set-gid bit.
    pub fn tamed(&self) -> &[String] {
        &self.tamed
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

fn mount_children(
    from: &Path,
    to: &Path,
    own: &[&str],
    mounts: &mut Vec<Mount>,
) -> std::io::Result<()> {
    let mut names = std::fs::read_dir(from)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()?;
    names.sort();
    for name in names.iter().filter(|name| !own.iter().any(|own| own == name)) {
        let (from, to) = (from.join(name), to.join(name));
        mounts.push(match std::fs::read_link(&from) {
            Ok(target) => Mount::Link { to, target },
            Err(_) => Mount::ReadOnly { from, to },
        });
    }
    Ok(())
}
