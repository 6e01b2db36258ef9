//! A root tree while packages and layers are laid into it: names in memory, bodies in a spool on disk.
//!
//! Nothing is written through a link: names are resolved among the tree's own, as the kernel would inside it, and only
//! the finished tree is laid out. Directories are implied by what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;

use super::EnvironmentError;
use super::listing::{Entry, Listing};
use crate::scratch::Scratch;

/// Most names in a tree.
const MAX_NAMES: usize = 2 << 20;
/// Most bytes in a tree.
const MAX_BYTES: u64 = 32 << 30;
/// Most links that a name leads over, as in the kernel.
const MAX_LINKS: usize = 40;

/// The tree.
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    spool: Scratch,
    spooled: u64,
    bytes: u64,
    /// Files that lost their set-uid or set-gid bit.
    pub(super) tamed: BTreeSet<String>,
}

/// What a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Whether anybody may execute it.
        executable: bool,
        /// Its content.
        sha256: Sha256,
        /// Where in the spool that is.
        at: PathBuf,
    },
    /// A symbolic link.
    Link(String),
}

/// Why something has no place in a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A name or link makes no sense where it is.
    #[error("{path:?}: {what}")]
    Refused {
        /// The name.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The spool cannot be written, or the body not be read.
    #[error("cannot keep {path:?}")]
    Io {
        /// The name.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn refused(path: &str, what: &str) -> TreeError {
    TreeError::Refused { path: path.to_owned(), what: what.to_owned() }
}

impl Tree {
    /// An empty tree; its spool is in `dir`, on the file system where it will be laid out.
    pub(super) fn new(dir: &Path) -> Result<Self, EnvironmentError> {
        fs::create_dir_all(dir).map_err(|e| EnvironmentError::io(dir, e))?;
        let spool = Scratch::in_dir(dir, ".spool-").map_err(|e| EnvironmentError::io(dir, e))?;
        let (nodes, tamed) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { nodes, spool, spooled: 0, bytes: 0, tamed })
    }

    /// What is at a name.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Whether a name leads to something, over links too.
    pub(super) fn leads_somewhere(&self, path: &str) -> bool {
        self.walk(path, true).is_ok_and(|end| self.nodes.contains_key(&end))
    }

    /// The name with the links in its directories resolved; its last segment is taken as it is.
    pub(super) fn place(&self, path: &str) -> Result<String, TreeError> {
        self.walk(path, false)
    }

    fn walk(&self, path: &str, whole: bool) -> Result<String, TreeError> {
        let mut at = String::new();
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(segment) = left.pop() {
            match segment.as_str() {
                "" | "." => continue,
                // The root's parent is the root.
                ".." => {
                    at.truncate(at.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let parent = at.len();
            if !at.is_empty() {
                at.push('/');
            }
            at.push_str(&segment);
            if left.is_empty() && !whole {
                break;
            }
            match self.nodes.get(&at) {
                Some(Node::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS || left.len() > MAX_NAMES {
                        return Err(refused(path, "its links lead round in circles"));
                    }
                    at.truncate(if target.starts_with('/') { 0 } else { parent });
                    left.extend(target.split('/').rev().map(str::to_owned));
                }
                Some(Node::File { .. }) if !left.is_empty() => {
                    return Err(refused(path, "it lies below a file"));
                }
                _ => {}
            }
        }
        if at.is_empty() { Err(refused(path, "it is the root")) } else { Ok(at) }
    }

    /// Keeps a body, to be put in with [`Tree::put`].
    pub(super) fn spool(
        &mut self,
        path: &str,
        executable: bool,
        body: &mut dyn Read,
        length: u64,
    ) -> Result<Node, TreeError> {
        let failed = |source| TreeError::Io { path: path.to_owned(), source };
        self.bytes += length;
        if self.bytes > MAX_BYTES {
            return Err(refused(path, "the tree grows beyond 32 GiB"));
        }
        let at = self.spool.path().join(self.spooled.to_string());
        self.spooled += 1;
        let mut file =
            File::options().write(true).create_new(true).mode(0o600).open(&at).map_err(failed)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 128 << 10];
        let mut body = body.take(length + 1);
        loop {
            match body.read(&mut buffer).map_err(failed)? {
                0 => break,
                n => {
                    hasher.update(&buffer[..n]);
                    file.write_all(&buffer[..n]).map_err(failed)?;
                }
            }
        }
        let (sha256, read) = hasher.finish();
        if read != length {
            return Err(refused(path, "the archive ends inside it"));
        }
        let mode = if executable { 0o555 } else { 0o444 };
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Node::File { executable, sha256, at })
    }

    /// Puts something at a resolved name, over what is there, and its directories above.
    pub(super) fn put(&mut self, path: String, node: Node) -> Result<(), TreeError> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.nodes.get(parent) {
                None => drop(self.nodes.insert(parent.to_owned(), Node::Directory)),
                Some(Node::Directory) => {}
                Some(_) => return Err(refused(&path, "it lies below a file or a link")),
            }
        }
        if node != Node::Directory {
            self.remove(&path, &BTreeSet::new());
        }
        if self.nodes.len() >= MAX_NAMES {
            return Err(refused(&path, "the tree grows beyond 2097152 names"));
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Takes a name and all below it away, but for `kept` names.
    pub(super) fn remove(&mut self, path: &str, kept: &BTreeSet<String>) {
        self.clear(path, kept);
        if !kept.contains(path) {
            self.nodes.remove(path);
        }
    }

    /// Takes all below a name (all of the tree for the empty one) away, but for `kept` names and what is above them.
    pub(super) fn clear(&mut self, path: &str, kept: &BTreeSet<String>) {
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        let is_below = |name: &&String| name.starts_with(&below);
        let names: Vec<String> = self
            .nodes
            .range(below.clone()..)
            .map(|(name, _)| name)
            .take_while(is_below)
            .cloned()
            .collect();
        for name in names {
            let holds_kept = || {
                let inside = format!("{name}/");
                kept.range(inside.clone()..).next().is_some_and(|next| next.starts_with(&inside))
            };
            if !kept.contains(&name) && !holds_kept() {
                self.nodes.remove(&name);
            }
        }
    }

    /// What the tree will be.
    pub(super) fn listing(&self) -> Listing {
        let mut listing = Listing::default();
        for (path, node) in &self.nodes {
            let entry = match node {
                Node::Directory => continue,
                Node::File { executable, sha256, .. } => {
                    Entry::File { executable: *executable, sha256: *sha256 }
                }
                Node::Link(target) => Entry::Link(target.clone()),
            };
            listing.add(path.clone(), entry);
        }
        listing
    }

    /// Lays the tree out in an empty directory. Bodies become further names of those in the spool.
    pub(super) fn lay_out(&self, to: &Path) -> io::Result<()> {
        for (path, node) in &self.nodes {
            crate::interrupt::check()?;
            let at = to.join(path);
            match (node, at.parent()) {
                (Node::Directory, _) | (_, None) => {}
                (Node::File { at: body, .. }, Some(parent)) => {
                    fs::create_dir_all(parent)?;
                    fs::hard_link(body, &at)?;
                }
                (Node::Link(target), Some(parent)) => {
                    fs::create_dir_all(parent)?;
                    symlink(target, &at)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dir: &Path, links: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new(dir).unwrap();
        for (path, target) in links {
            tree.put((*path).to_owned(), Node::Link((*target).to_owned())).unwrap();
        }
        tree
    }

    #[test]
    fn names_are_resolved_inside_the_tree_and_never_leave_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(
            dir.path(),
            &[("bin", "usr/bin"), ("up", "../../../etc"), ("abs", "/usr"), ("a", "b"), ("b", "a")],
        );
        assert_eq!(tree.place("bin/sh").unwrap(), "usr/bin/sh");
        assert_eq!(tree.place("up/passwd").unwrap(), "etc/passwd");
        assert_eq!(tree.place("abs/lib/x").unwrap(), "usr/lib/x");
        assert_eq!(tree.place("bin").unwrap(), "bin");
        assert!(tree.place("a/x").is_err());
        assert!(tree.place("up/../..").is_err());
    }

    #[test]
    fn what_is_laid_out_is_what_was_listed() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = tree(dir.path(), &[("bin", "usr/bin")]);
        let body = tree.spool("usr/bin/x", true, &mut &b"x"[..], 1).unwrap();
        tree.put("usr/bin/x".to_owned(), body.clone()).unwrap();
        tree.put("usr/bin/y".to_owned(), body).unwrap();
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        tree.lay_out(&to).unwrap();
        let mut digests = super::super::digests::Digests::load(dir.path());
        assert_eq!(Listing::of_tree(&to, &mut digests).unwrap(), tree.listing());
        assert!(tree.spool("z", false, &mut &b"xyz"[..], 2).is_err());
        assert!(tree.put("usr/bin/x/y".to_owned(), Node::Directory).is_err());
    }
}
