//! Environments that are made of locked inputs: resolved once, then put together from those bytes alone.
//!
//! ```text
//! debian   debian:NAME=VERSION/pool/….deb   in the order of their names, then the alternatives
//!          rust:DATE/FILE.tar.xz            below /opt/rust
//! oci      oci:layer-NNN                    one upon the other
//! ```

use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::release::{EnvironmentKind, Input};

use super::alternatives;
use super::apt::{self, Package};
use super::tree::{Node, Tree};
use super::{EnvironmentError, deb, dist, image, layer};
use crate::inputs::Inputs;
use crate::recipe::{EnvironmentSpec, Tool};

/// Whether an input belongs to an environment.
pub(crate) fn is_input(input: &Input) -> bool {
    Package::of_input(input).is_some() || dist::is_archive(input) || image::is_layer(input)
}

/// What people are told of where an environment comes from, and its inputs, kept in the store.
pub(super) struct Resolved {
    pub(super) parts: Vec<String>,
    pub(super) inputs: Vec<Input>,
}

/// Resolves what the recipe in `dir` asks for, and has it at hand.
pub(super) fn resolve(
    spec: &EnvironmentSpec,
    dir: &Path,
    inputs: &Inputs,
    cache: &Path,
    now: &dyn Fn(&str),
) -> Result<Resolved, EnvironmentError> {
    if let Some(path) = &spec.image {
        now("reading the image");
        let image = image::take(&dir.join(path), spec.sha256.as_ref(), inputs)?;
        return Ok(Resolved { parts: vec![image.part], inputs: image.layers });
    }
    let mut asked = spec.packages.clone();
    if !spec.tools.is_empty() {
        asked.extend(["gcc", "binutils", "make", "libc6-dev"].map(str::to_owned));
    }
    let packages = apt::resolve(&asked, cache, now)?;
    apt::fetch(&packages, inputs, cache, now)?;
    let mut parts: Vec<String> = packages.iter().map(|package| package.part.clone()).collect();
    let mut found: Vec<Input> = packages.iter().map(Package::input).collect();
    if spec.tools.contains(&Tool::Rust) {
        now("asking for Rust");
        let channel = spec.rust.clone().or_else(|| super::rust::channel(dir));
        let dist = dist::resolve(channel.as_deref().unwrap_or("stable"))?;
        for (name, sha256) in &dist.archives {
            found.push(dist::fetch(name, sha256, inputs, now)?);
        }
        parts.push(format!("rust={}", dist.version));
    }
    parts.sort();
    Ok(Resolved { parts, inputs: found })
}

/// Has locked inputs of an environment at hand, fetched again where they are not.
pub(super) fn fetch(
    locked: &[Input],
    inputs: &Inputs,
    cache: &Path,
    now: &dyn Fn(&str),
) -> Result<(), EnvironmentError> {
    let packages: Vec<Package> = locked.iter().filter_map(Package::of_input).collect();
    apt::fetch(&packages, inputs, cache, now)?;
    for input in locked.iter().filter(|input| dist::is_archive(input)) {
        dist::fetch(&input.name, &input.blob.sha256, inputs, now)?;
    }
    Ok(())
}

/// Raised when the same inputs give another tree than before.
const RULES: u32 = 1;

/// What the same tree always follows from.
pub(super) fn key(kind: EnvironmentKind, locked: &[Input]) -> Sha256 {
    let mut lines: Vec<String> =
        locked.iter().map(|input| format!("{} {}\n", input.blob.sha256, input.name)).collect();
    lines.sort();
    Sha256::of(format!("{RULES} {}\n{}", kind.name(), lines.concat()).as_bytes())
}

/// Puts an environment together from its inputs. `dir` is where its bodies are kept until it is laid out.
pub(super) fn tree(
    kind: EnvironmentKind,
    locked: &[Input],
    inputs: &Inputs,
    dir: &Path,
) -> Result<Tree, EnvironmentError> {
    let mut tree = Tree::new(dir)?;
    let mut wanted: Vec<&Input> = locked.iter().filter(|input| is_input(input)).collect();
    wanted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut offers = Vec::new();
    for input in wanted {
        let path: PathBuf = inputs.get(input)?;
        let failed = |source| EnvironmentError::Unpack { name: input.name.clone(), source };
        if let Some(package) = Package::of_input(input) {
            let control = deb::unpack(&path, &mut tree).map_err(failed)?;
            let found = format!("{}={}", control.name, control.version);
            if found != package.part {
                return Err(EnvironmentError::OtherPackage { name: input.name.clone(), found });
            }
            offers.extend(alternatives::offers(&control.postinst));
        } else if image::is_layer(input) {
            layer::apply(&mut tree, image::open(&path)?).map_err(failed)?;
        } else {
            dist::unpack(&path, &mut tree).map_err(failed)?;
        }
    }
    if kind == EnvironmentKind::Debian {
        alternatives::choose(&mut tree, offers)?;
        for name in deb::MERGED {
            let below = format!("usr/{name}");
            if matches!(tree.get(&below), Some(Node::Directory)) {
                tree.put(name.to_owned(), Node::Link(below))?;
            }
        }
    }
    Ok(tree)
}
