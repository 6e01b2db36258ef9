//! From the root that a keyholder pinned to the newest one of a request, each signed by its forerunner and itself.

use countersign_metadata::layout::limit;
use countersign_metadata::request::Bytes;
use countersign_metadata::trust::Authority;

use super::file::TufFile;
use super::roles::{Holders, Role, Root};
use crate::Refused;
use crate::pin::PinnedRoot;

/// The roots from the pinned one to the newest, every step proven. Born in [`Chain::walk`].
pub(crate) struct Chain {
    /// Never empty; ascending.
    roots: Vec<(TufFile, Root)>,
}

impl Chain {
    /// Walks from `pinned` through `roots` (from version 1, as published). Before the first publication there are
    /// none; then the pinned root must be a first one.
    pub(crate) fn walk(pinned: &PinnedRoot, roots: &[Bytes]) -> Result<Self, Refused> {
        let (file, root) = pinned.parts()?;
        let version = root.head.version;
        let index = usize::try_from(version).unwrap_or(usize::MAX);
        let behind = Refused::Behind { pinned: version, newest: roots.len() };
        if roots.len() as u64 > limit::ROOTS {
            let reason = format!("more than {} roots", limit::ROOTS);
            return Err(Refused::malformed("the request", reason));
        }
        let mut chain = Self { roots: vec![(file, root)] };
        if roots.is_empty() {
            return if version == 1 { Ok(chain) } else { Err(behind) };
        }
        let same = roots.get(index - 1).ok_or(behind)?;
        let same = TufFile::published(&format!("root version {version}"), "root", &same.0)?;
        if same.message() != chain.newest_message() {
            return Err(Refused::OtherRoot(version));
        }
        for (version, bytes) in (version + 1..).zip(&roots[index..]) {
            chain.step(version, &bytes.0)?;
        }
        Ok(chain)
    }

    /// TUF 1.0 §5.3.4–5.3.5: the next root is signed by the thresholds of the old one and its own, and its version
    /// is one more.
    fn step(&mut self, version: u64, bytes: &[u8]) -> Result<(), Refused> {
        let what = format!("root version {version}");
        if bytes.len() as u64 > limit::ROOT {
            let reason = format!("longer than {} bytes", limit::ROOT);
            return Err(Refused::malformed(&what, reason));
        }
        let file = TufFile::published(&what, "root", bytes)?;
        file.verify(&self.authority("root")?)?;
        file.verify(&file.names("root")?)?;
        let root = Root::of(&file)?;
        let found = root.head.version;
        if found != version {
            return Err(Refused::NotNext { role: "root".to_owned(), found, wanted: version });
        }
        self.roots.push((file, root));
        Ok(())
    }

    fn last(&self) -> &(TufFile, Root) {
        &self.roots[self.roots.len() - 1]
    }

    /// The newest root.
    pub(crate) fn newest(&self) -> &Root {
        &self.last().1
    }

    pub(crate) fn newest_message(&self) -> &[u8] {
        self.last().0.message()
    }

    /// The version of the pinned root.
    pub(crate) fn pinned(&self) -> u64 {
        self.roots[0].1.head.version
    }

    /// Who signs a top-level role now.
    pub(crate) fn authority(&self, role: &str) -> Result<Authority, Refused> {
        self.last().0.names(role)
    }

    /// The newest root under which `file` is signed to the threshold of `role`.
    pub(crate) fn signed_under(&self, file: &TufFile, role: &str) -> Result<u64, Refused> {
        let newest = file.verify(&self.authority(role)?);
        let Err(error) = newest else { return Ok(self.newest().head.version) };
        for (old, root) in self.roots.iter().rev().skip(1) {
            if file.verify(&old.names(role)?).is_ok() {
                return Ok(root.head.version);
            }
        }
        Err(error)
    }
}

/// Who signs a role by a root, to be shown.
pub(crate) fn role_of<'r>(root: &'r Root, role: &str) -> Result<&'r Holders, Refused> {
    root.roles.get(role).ok_or_else(|| Refused::malformed("a root", format!("it has no {role}")))
}
