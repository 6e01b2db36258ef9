//! The listing of a tree: one line an entry, sorted by path. Its SHA-256 is the environment's digest.
//!
//! ```text
//! file 755 DIGEST usr/bin/gcc-12
//! link usr/bin/gcc gcc-12
//! ```
//!
//! Directories are implied. Fields are separated by single spaces, paths and targets are escaped as JSON strings
//! where they hold anything but printable ASCII without space, quote or backslash.

use std::collections::BTreeMap;
use std::path::Path;

use countersign_metadata::Sha256;

use super::EnvironmentError;
use super::digests::Digests;

/// The entries of a tree by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(BTreeMap<String, Entry>);

/// An entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// Whether anybody may execute it.
        executable: bool,
        /// Its content.
        sha256: Sha256,
    },
    /// A symbolic link.
    Link(String),
}

impl Listing {
    /// Adds an entry.
    pub fn add(&mut self, path: String, entry: Entry) {
        self.0.insert(path, entry);
    }

    /// Reads a tree, the contents of unchanged files from the cache of `digests`.
    ///
    /// # Errors
    /// Something cannot be read.
    pub(super) fn of_tree(root: &Path, digests: &mut Digests) -> Result<Self, EnvironmentError> {
        let mut listing = Self::default();
        let mut left = vec![String::new()];
        while let Some(below) = left.pop() {
            let dir = root.join(&below);
            let failed = |e| EnvironmentError::io(&dir, e);
            for entry in std::fs::read_dir(&dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = if below.is_empty() { name } else { format!("{below}/{name}") };
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    left.push(path);
                } else if kind.is_symlink() {
                    let target = std::fs::read_link(entry.path()).map_err(failed)?;
                    listing.add(path, Entry::Link(target.to_string_lossy().into_owned()));
                } else {
                    let (executable, sha256) = digests.of(&entry.path())?;
                    listing.add(path, Entry::File { executable, sha256 });
                }
            }
        }
        Ok(listing)
    }

    /// The digest over the whole.
    pub fn sha256(&self) -> Sha256 {
        let mut hasher = countersign_metadata::digest::Hasher::default();
        for (path, entry) in &self.0 {
            let path = escaped(path);
            let line = match entry {
                Entry::File { executable, sha256 } => {
                    format!("file {} {sha256} {path}\n", if *executable { 755 } else { 644 })
                }
                Entry::Link(target) => format!("link {path} {}\n", escaped(target)),
            };
            hasher.update(line.as_bytes());
        }
        hasher.finish().0
    }
}

fn escaped(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_every_field() {
        let digest = |path: &str, entry| {
            let mut listing = Listing::default();
            listing.add(path.to_owned(), entry);
            listing.sha256()
        };
        let file = |executable, bytes| Entry::File { executable, sha256: Sha256::of(bytes) };
        let all = [
            digest("a", file(false, b"1")),
            digest("a", file(true, b"1")),
            digest("a", file(false, b"2")),
            digest("b", file(false, b"1")),
            digest("a", Entry::Link("b".to_owned())),
            digest("a", Entry::Link("b c".to_owned())),
        ];
        let distinct = all.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct.len(), all.len());
    }
}
