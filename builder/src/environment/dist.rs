//! Rust as its makers publish it: compiler, cargo and standard library as archives by digest, laid out at [`RUST`].
//!
//! They come from rustup's own server, `$RUSTUP_DIST_SERVER` or the one that it has built in; which archives make up a
//! channel, its index says when the environment is locked.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use countersign_metadata::Sha256;
use countersign_metadata::release::{Blob, Input};
use serde::Deserialize;

use super::layer::{CAP, node, told};
use super::tree::{Node, Tree, TreeError};
use super::{EnvironmentError, RUST};
use crate::http::Repository;
use crate::inputs::{InputError, Inputs, MAX_LENGTH};
use crate::pack::{self, Kind, Member, UnpackError};

/// rustup's own choice.
const SERVER: &str = "https://static.rust-lang.org";
/// Longest index of a channel.
const MAX_INDEX: u64 = 32 << 20;
/// The archives: name, and the directory in it that holds the files.
const COMPONENTS: [&str; 3] = ["cargo", "rust-std", "rustc"];

/// The channel's index, as far as it is needed.
#[derive(Deserialize)]
struct Index {
    pkg: BTreeMap<String, Component>,
}

#[derive(Deserialize)]
struct Component {
    version: String,
    #[serde(default)]
    target: BTreeMap<String, Target>,
}

#[derive(Deserialize)]
struct Target {
    xz_url: Option<String>,
    xz_hash: Option<Sha256>,
}

/// A toolchain that is locked: how people call it, and its archives.
pub(super) struct Dist {
    /// `1.95.0 (59807616e 2026-04-14)`.
    pub(super) version: String,
    /// `rust:DATE/FILE` with their digests.
    pub(super) archives: Vec<(String, Sha256)>,
}

/// Whether a channel is one that can be asked for: `stable`, or a version.
pub(crate) fn is_channel(channel: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    channel == "stable"
        || ((2..=3).contains(&channel.split('.').count()) && channel.split('.').all(is_number))
}

/// Asks which archives a channel has for this machine's platform.
pub(super) fn resolve(channel: &str) -> Result<Dist, EnvironmentError> {
    let bad = |what: String| EnvironmentError::NoRust(format!("channel {channel}: {what}"));
    if !is_channel(channel) {
        return Err(bad("this version takes stable, or a version like 1.95.0".to_owned()));
    }
    let path = format!("dist/channel-rust-{channel}.toml");
    let index = server()?
        .bytes(&path, MAX_INDEX)
        .map_err(|e| bad(e.to_string()))?
        .ok_or_else(|| bad("its server has no such channel".to_owned()))?;
    let text = String::from_utf8(index).map_err(|e| bad(e.to_string()))?;
    let index: Index = toml::from_str(&text).map_err(|e| bad(e.message().to_owned()))?;
    let triple = triple();
    let mut archives = Vec::new();
    for name in COMPONENTS {
        let missing = || bad(format!("it has no {name} for {triple}"));
        let target = index.pkg.get(name).and_then(|c| c.target.get(&triple)).ok_or_else(missing)?;
        let (Some(url), Some(sha256)) = (&target.xz_url, target.xz_hash) else {
            return Err(missing());
        };
        let (_, file) = url.split_once("/dist/").ok_or_else(missing)?;
        let input = format!("rust:{file}");
        path_of(&input).ok_or_else(missing)?;
        archives.push((input, sha256));
    }
    let version = index.pkg.get("rustc").map(|c| c.version.clone()).unwrap_or_default();
    Ok(Dist { version, archives })
}

/// Whether an input is an archive of a toolchain.
pub(super) fn is_archive(input: &Input) -> bool {
    path_of(&input.name).is_some()
}

/// Where an archive lies on the server.
fn path_of(name: &str) -> Option<String> {
    let file: crate::Inside = name.strip_prefix("rust:")?.parse().ok()?;
    Some(format!("dist/{file}"))
}

fn server() -> Result<Repository, EnvironmentError> {
    let address = std::env::var("RUSTUP_DIST_SERVER").unwrap_or_else(|_| SERVER.to_owned());
    Repository::open(&address).map_err(|e| EnvironmentError::NoRust(e.to_string()))
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Has an archive at hand: from the store, or from the server.
pub(super) fn fetch(
    name: &str,
    sha256: &Sha256,
    inputs: &Inputs,
    now: &dyn Fn(&str),
) -> Result<Input, EnvironmentError> {
    let missing = || InputError::Missing { name: name.to_owned(), sha256: *sha256 };
    let path = match inputs.find(name, sha256)? {
        Some(path) => path,
        None => {
            now(&format!("fetching {name}"));
            let at = path_of(name).ok_or_else(missing)?;
            let failed = |e: crate::http::RepositoryError| InputError::Client {
                client: "rustup's server",
                name: name.to_owned(),
                what: e.to_string(),
            };
            let stream = server()?.stream(&at, MAX_LENGTH).map_err(failed)?;
            let (path, blob) = inputs.add(stream.ok_or_else(missing)?)?;
            if blob.sha256 != *sha256 {
                let what = format!("{:?} came instead of {sha256:?}", blob.sha256);
                return Err(InputError::Wrong { name: name.to_owned(), what }.into());
            }
            path
        }
    };
    let length = std::fs::metadata(&path).map_err(|e| EnvironmentError::io(&path, e))?.len();
    Ok(Input { name: name.to_owned(), blob: Blob { sha256: *sha256, length } })
}

/// Lays an archive's `bin` and `lib` into the tree.
pub(super) fn unpack(archive: &Path, tree: &mut Tree) -> Result<(), UnpackError> {
    let stream: Box<dyn Read> = pack::open(archive)?;
    pack::each_of_root(stream, CAP, &mut |member, body| {
        one(tree, member, body).map_err(|e| told(member, e))
    })
}

fn one(tree: &mut Tree, member: &Member, body: &mut dyn Read) -> Result<(), TreeError> {
    // ARCHIVE/COMPONENT/lib/…
    let below = member.path.without_first().and_then(|path| path.without_first());
    let Some(below) = below else { return Ok(()) };
    let wanted = below.as_str().starts_with("bin/") || below.as_str().starts_with("lib/");
    if !wanted || member.kind == Kind::Directory {
        return Ok(());
    }
    let path = tree.place(&format!("{RUST}/{below}"))?;
    let node: Node = node(tree, &member.kind, member, body)?;
    match tree.get(&path) {
        None => tree.put(path, node),
        Some(_) => Err(TreeError::Refused { path, what: "it is there twice".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_stable_or_a_version() {
        for good in ["stable", "1.95", "1.95.0"] {
            assert!(is_channel(good), "{good}");
        }
        for bad in ["", "nightly", "1", "1.9.5.0", "../x", "1.x", "1..0"] {
            assert!(!is_channel(bad), "{bad}");
        }
        assert_eq!(
            path_of("rust:2026-04-16/x.tar.xz").as_deref(),
            Some("dist/2026-04-16/x.tar.xz")
        );
        assert_eq!(path_of("rust:../x"), None);
    }
}
