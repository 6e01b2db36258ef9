//! One target of any TUF repository: the pre-order walk through its delegations (TUF 5.6.7), with limits.
//!
//! Nothing here is a release: a node takes only what [`Trust::releases`] gives.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha512};

use super::law::Listed;
use super::{SignedFile, Source, Trust, TrustError};
use crate::Sha256;
use crate::layout::{self, limit};

/// What a repository says about one target: its path, length and digests. The bytes are still to be fetched and
/// [checked](FoundTarget::check).
#[derive(Clone, Debug)]
pub struct FoundTarget {
    path: String,
    role: String,
    length: u64,
    sha256: Option<[u8; 32]>,
    sha512: Option<[u8; 64]>,
}

/// Bytes that are not the target.
#[derive(Debug, thiserror::Error)]
pub enum BadTarget {
    /// More or fewer.
    #[error("{path} has {found} bytes, not the {wanted} that are signed")]
    Length {
        /// The target path.
        path: String,
        /// The signed length.
        wanted: u64,
        /// What came.
        found: u64,
    },
    /// Others.
    #[error("{path} does not have the signed {algorithm} digest")]
    Digest {
        /// The target path.
        path: String,
        /// The algorithm.
        algorithm: &'static str,
    },
}

impl Trust {
    /// Finds a target by its path, as TUF 5.6.7 says: in the top-level targets, then depth-first in the roles that the
    /// path is delegated to, in their order; a terminating delegation is the last one. Every role is checked
    /// against the delegation by which it is reached now, whatever other ones there are.
    ///
    /// A role that is broken, expired or missing ends only its own branch. Call it after [`Trust::refresh`].
    ///
    /// # Errors
    /// Nothing is trusted (any more), a source did not answer, there are too many roles on the way, or the target was
    /// not found and a role on the way was refused: then why the first of these was.
    pub fn target(
        &mut self,
        path: &str,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<Option<FoundTarget>, TrustError> {
        let mut here = Arc::new(self.law.check_chain(now)?.clone());
        let mut waiting: Vec<(Arc<SignedFile>, String)> = Vec::new();
        let mut visited = BTreeSet::new();
        let mut refused = None;
        let mut asked = 0;
        loop {
            if let Some(listed) = self.law.listed(here.role(), path) {
                return FoundTarget::read(path, here.role(), &listed).map(Some);
            }
            match self.law.below(here.role(), path) {
                Ok(mut below) => {
                    // TUF 5.6.7.2.1: nothing after a terminating delegation, here or above.
                    if let Some(last) = below.iter().position(|b| b.terminating) {
                        below.truncate(last + 1);
                        waiting.clear();
                    }
                    let below = below.into_iter().rev().map(|b| (Arc::clone(&here), b.role));
                    waiting.extend(below);
                }
                Err(error) => refused = refused.or(Some(error)),
            }
            here = loop {
                let Some((above, role)) = waiting.pop() else {
                    return refused.map_or(Ok(None), Err);
                };
                if visited.contains(&role) {
                    continue;
                }
                asked += 1;
                if asked > limit::ROLES {
                    let path = path.to_owned();
                    return Err(TrustError::TooManyRoles { path, limit: limit::ROLES });
                }
                match self.role_below(&above, &role, now, source) {
                    Ok(file) => {
                        visited.insert(role);
                        break Arc::new(file);
                    }
                    // A mirror that is silent about a role must not give the next one its say.
                    Err(error @ TrustError::Unreachable { .. }) => return Err(error),
                    Err(error) => refused = refused.or(Some(error)),
                }
            };
        }
    }

    fn role_below(
        &mut self,
        above: &SignedFile,
        role: &str,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<SignedFile, TrustError> {
        if role.is_empty() || layout::segment(role).len() > limit::ROLE_NAME {
            let what = "it delegates to a role whose name is empty or too long";
            return Err(TrustError::malformed(above.role(), what));
        }
        let loaded = self.delegated(above, role, self.law.kinds(), now, source)?;
        let missing = || TrustError::malformed("snapshot", format!("it lists no {role:?}"));
        Ok(loaded.ok_or_else(missing)?.file)
    }
}

impl FoundTarget {
    fn read(path: &str, role: &str, listed: &Listed) -> Result<Self, TrustError> {
        let bad = |what: String| TrustError::malformed(role, what);
        let hash = |algorithm: &str, out: &mut [u8]| match listed.hashes.get(algorithm) {
            None => Ok(false),
            Some(text) => hex::decode_to_slice(text, out)
                .map(|()| true)
                .map_err(|_| bad(format!("{path} has a malformed {algorithm} digest"))),
        };
        let (mut sha256, mut sha512) = ([0; 32], [0; 64]);
        let sha256 = hash("sha256", &mut sha256)?.then_some(sha256);
        let sha512 = hash("sha512", &mut sha512)?.then_some(sha512);
        if sha256.is_none() && sha512.is_none() {
            return Err(bad(format!("{path} has no digest of a kind that is known")));
        }
        let (path, role) = (path.to_owned(), role.to_owned());
        Ok(Self { path, role, length: listed.length, sha256, sha512 })
    }

    /// Its target path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The role that lists it.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Its length, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where it lies in the repository.
    pub fn served_at(&self) -> String {
        let sha256 = self.sha256.map(hex::encode);
        let digest = sha256.or(self.sha512.map(hex::encode)).unwrap_or_default();
        layout::target_by(&self.path, &digest)
    }

    /// Compares bytes with what is signed: the length, and every digest of a known kind.
    ///
    /// # Errors
    /// They are not this target.
    pub fn check(&self, bytes: &[u8]) -> Result<(), BadTarget> {
        let path = || self.path.clone();
        let found = bytes.len() as u64;
        if found != self.length {
            return Err(BadTarget::Length { path: path(), wanted: self.length, found });
        }
        if self.sha256.is_some_and(|wanted| wanted != *Sha256::of(bytes).as_bytes()) {
            return Err(BadTarget::Digest { path: path(), algorithm: "SHA-256" });
        }
        if self.sha512.is_some_and(|wanted| wanted[..] != Sha512::digest(bytes)[..]) {
            return Err(BadTarget::Digest { path: path(), algorithm: "SHA-512" });
        }
        Ok(())
    }
}
