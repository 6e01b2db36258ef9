//! The ids that git gives to blobs, trees and commits, computed from a source tar: no git is asked whether it told the truth.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::git::CommitId;
use crate::pack::{self, Cap, Kind, Strip, UnpackError};

enum Node {
    /// Mode and id.
    Leaf(&'static str, Vec<u8>),
    Tree(BTreeMap<String, Node>),
}

/// The id of an object, in hexadecimal.
pub(super) fn object_id(like: &CommitId, kind: &str, body: &[u8]) -> String {
    hex::encode(id(algorithm(like), kind, body))
}

/// The id of the tree that a tar holds.
pub(super) fn tree_id(tar: &Path, like: &CommitId) -> Result<String, UnpackError> {
    let algorithm = algorithm(like);
    let failed = |source| UnpackError::Io { path: tar.to_owned(), source };
    let file = File::open(tar).map_err(failed)?;
    let mut root = BTreeMap::new();
    pack::each(file, Cap::default(), Strip::Nothing, &mut |member, body| {
        let leaf = match &member.kind {
            // Git keeps no empty directory, and makes the others for what lies in them.
            Kind::Directory => return Ok(()),
            Kind::Symlink(target) => Node::Leaf("120000", id(algorithm, "blob", target.as_bytes())),
            Kind::File => {
                let mode = if member.mode & 0o100 == 0 { "100644" } else { "100755" };
                let mut context = begun(algorithm, "blob", member.length);
                let mut buffer = [0; 16 << 10];
                loop {
                    match body.read(&mut buffer).map_err(failed)? {
                        0 => break,
                        n => context.update(&buffer[..n]),
                    }
                }
                Node::Leaf(mode, context.finish().as_ref().to_vec())
            }
            Kind::Hardlink(_) => {
                let (member, what) = (member.path.to_string(), "it is a hard link".to_owned());
                return Err(UnpackError::Refused { member, what });
            }
        };
        insert(&mut root, member.path.as_str(), leaf);
        Ok(())
    })?;
    Ok(hex::encode(written(algorithm, &root)))
}

fn insert(tree: &mut BTreeMap<String, Node>, path: &str, leaf: Node) {
    match path.split_once('/') {
        None => {
            tree.insert(path.to_owned(), leaf);
        }
        Some((first, rest)) => {
            let below = tree.entry(first.to_owned()).or_insert_with(|| Node::Tree(BTreeMap::new()));
            // A tar of ours holds nothing below a file.
            if let Node::Tree(below) = below {
                insert(below, rest, leaf);
            }
        }
    }
}

fn written(algorithm: &'static Algorithm, tree: &BTreeMap<String, Node>) -> Vec<u8> {
    // Git sorts a directory as if its name ended in a slash.
    let sorted: BTreeMap<String, (&str, &Node)> = tree
        .iter()
        .map(|(name, node)| match node {
            Node::Leaf(..) => (name.clone(), (name.as_str(), node)),
            Node::Tree(_) => (format!("{name}/"), (name.as_str(), node)),
        })
        .collect();
    let mut body = Vec::new();
    for (name, node) in sorted.values() {
        let (mode, id) = match node {
            Node::Leaf(mode, id) => (*mode, id.clone()),
            Node::Tree(below) => ("40000", written(algorithm, below)),
        };
        body.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        body.extend_from_slice(&id);
    }
    id(algorithm, "tree", &body)
}

fn id(algorithm: &'static Algorithm, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut context = begun(algorithm, kind, body.len() as u64);
    context.update(body);
    context.finish().as_ref().to_vec()
}

fn begun(algorithm: &'static Algorithm, kind: &str, length: u64) -> Context {
    let mut context = Context::new(algorithm);
    context.update(format!("{kind} {length}\0").as_bytes());
    context
}

fn algorithm(like: &CommitId) -> &'static Algorithm {
    if like.is_sha256() { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY }
}
