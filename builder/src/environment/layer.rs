//! Lays layers of an OCI image, or a root tarball, into a tree: one upon the other, with whiteouts.

use std::collections::BTreeSet;
use std::io::Read;

use super::tree::{Node, Tree, TreeError};
use crate::pack::{Cap, Kind, Member, UnpackError, each_of_root};

/// How much one layer or package may hold.
pub(super) const CAP: Cap = Cap { bytes: 16 << 30, members: 1 << 20 };

/// Before the name of what a layer takes away.
const WHITEOUT: &str = ".wh.";
/// A layer takes away all that lower ones have in this directory.
const OPAQUE: &str = ".wh..wh..opq";

/// Lays a layer over the tree.
pub(super) fn apply(tree: &mut Tree, layer: impl Read) -> Result<(), UnpackError> {
    // What this layer has put itself: its whiteouts speak of the lower layers only, wherever in it they stand.
    let mut own = BTreeSet::new();
    each_of_root(layer, CAP, &mut |member, body| {
        one(tree, &mut own, member, body).map_err(|e| told(member, e))
    })
}

/// A tree's error as the archive's.
pub(super) fn told(member: &Member, error: TreeError) -> UnpackError {
    match error {
        TreeError::Refused { what, .. } => {
            UnpackError::Refused { member: member.path.to_string(), what }
        }
        TreeError::Io { path, source } => UnpackError::Io { path: path.into(), source },
    }
}

fn one(
    tree: &mut Tree,
    own: &mut BTreeSet<String>,
    member: &Member,
    body: &mut dyn Read,
) -> Result<(), TreeError> {
    let written = member.path.as_str();
    let (parent, name) = written.rsplit_once('/').unwrap_or(("", written));
    if let Some(gone) = name.strip_prefix(WHITEOUT) {
        return whiteout(tree, own, parent, name, gone);
    }
    let path = tree.place(written)?;
    let node = match &member.kind {
        Kind::Directory => {
            match tree.get(&path) {
                Some(Node::Directory) => {}
                _ => {
                    tree.remove(&path, &BTreeSet::new());
                    tree.put(path.clone(), Node::Directory)?;
                }
            }
            own.insert(path);
            return Ok(());
        }
        kind => node(tree, kind, member, body)?,
    };
    tree.put(path.clone(), node)?;
    own.insert(path);
    Ok(())
}

/// A member that is no directory, as a node.
pub(super) fn node(
    tree: &mut Tree,
    kind: &Kind,
    member: &Member,
    body: &mut dyn Read,
) -> Result<Node, TreeError> {
    match kind {
        Kind::Directory => Ok(Node::Directory),
        Kind::Symlink(target) => Ok(Node::Link(target.clone())),
        Kind::File => {
            let path = member.path.as_str();
            if member.mode & 0o6000 != 0 {
                tree.tamed.insert(path.to_owned());
            }
            tree.spool(path, member.mode & 0o111 != 0, body, member.length)
        }
        Kind::Hardlink(first) => match tree.get(&tree.place(first.as_str())?) {
            Some(node @ (Node::File { .. } | Node::Link(_))) => Ok(node.clone()),
            _ => Err(TreeError::Refused {
                path: member.path.to_string(),
                what: "it links to no earlier file".to_owned(),
            }),
        },
    }
}

fn whiteout(
    tree: &mut Tree,
    own: &BTreeSet<String>,
    parent: &str,
    name: &str,
    gone: &str,
) -> Result<(), TreeError> {
    let bad =
        |what: &str| TreeError::Refused { path: format!("{parent}/{name}"), what: what.to_owned() };
    if name == OPAQUE {
        let dir = match parent {
            "" => String::new(),
            _ => tree.place(&format!("{parent}/."))?,
        };
        tree.clear(&dir, own);
        return Ok(());
    }
    if gone.is_empty() || gone == "." || gone == ".." || gone.starts_with(WHITEOUT) {
        return Err(bad("it is a whiteout of nothing that can be named"));
    }
    let path =
        tree.place(&if parent.is_empty() { gone.to_owned() } else { format!("{parent}/{gone}") })?;
    tree.remove(&path, own);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::packages::tar_of;

    fn layer(members: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let member = |&(path, kind, text)| (path, kind, 0o4755, text);
        tar_of(&members.iter().map(member).collect::<Vec<_>>())
    }

    use tar::EntryType as T;

    fn names(tree: &Tree) -> String {
        format!("{:?}", tree.listing())
    }

    #[test]
    fn later_layers_add_replace_and_take_away() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(dir.path()).unwrap();
        let first = [
            ("usr/bin/a", T::Regular, "a"),
            ("usr/bin/b", T::Link, "usr/bin/a"),
            ("bin", T::Symlink, "/usr/bin"),
            ("etc/dir/x", T::Regular, "x"),
            ("etc/dir/y", T::Regular, "y"),
            ("opt/old/z", T::Regular, "z"),
        ];
        apply(&mut tree, &*layer(&first)).unwrap();
        assert!(tree.tamed.contains("usr/bin/a"));
        let second = [
            ("bin/c", T::Regular, "c"),
            ("usr/bin/.wh.a", T::Regular, ""),
            ("etc/dir/new", T::Regular, "n"),
            ("etc/dir/.wh..wh..opq", T::Regular, ""),
            ("opt/old", T::Symlink, "elsewhere"),
        ];
        apply(&mut tree, &*layer(&second)).unwrap();
        let names = names(&tree);
        for there in ["usr/bin/b", "usr/bin/c", "etc/dir/new", "opt/old"] {
            assert!(names.contains(&format!("\"{there}\"")), "{there}: {names}");
        }
        for gone in ["usr/bin/a", "etc/dir/x", "etc/dir/y", "opt/old/z"] {
            assert!(!names.contains(&format!("\"{gone}\"")), "{gone}: {names}");
        }
    }

    #[test]
    fn a_hostile_layer_is_refused_by_name() {
        for (what, member) in [
            ("..", ("../x", T::Regular, "x")),
            ("absolute", ("/etc/x", T::Regular, "x")),
            ("device", ("dev/sda", T::Block, "")),
            ("pipe", ("dev/p", T::Fifo, "")),
            ("no earlier file", ("x", T::Link, "etc/shadow")),
            ("whiteout", ("a/.wh...", T::Regular, "")),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut tree = Tree::new(dir.path()).unwrap();
            let error = apply(&mut tree, &*layer(&[member])).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(member.0), "{error}");
        }
    }

    #[test]
    fn a_file_below_a_link_lands_where_the_link_leads_inside() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(dir.path()).unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let members = [
            ("out", T::Symlink, outside.to_str().unwrap()),
            ("out/x", T::Regular, "x"),
            ("up", T::Symlink, "../../.."),
            ("up/tmp/y", T::Regular, "y"),
        ];
        apply(&mut tree, &*layer(&members)).unwrap();
        assert!(tree.get("tmp/y").is_some());
        assert!(std::fs::read_dir(outside).unwrap().next().is_none());
    }
}
