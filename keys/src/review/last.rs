//! The last version of a role, and that the next one is the next.

use super::roles::{Head, Role};
use crate::Refused;

/// The last version of a role, as far as it is proven.
pub(super) enum Last<R> {
    None,
    Superseded { version: u64, under: u64 },
    Verified(R),
}

impl<R: Role> Last<R> {
    pub(super) fn version(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Superseded { version, .. } => Some(*version),
            Self::Verified(last) => Some(last.head().version),
        }
    }

    pub(super) fn verified(&self) -> Option<&R> {
        if let Self::Verified(last) = self { Some(last) } else { None }
    }
}

/// A version is one more than the last; the first is 1. No jump: it would use up the versions between.
pub(super) fn follows(role: &str, head: &Head, last: Option<u64>) -> Result<(), Refused> {
    let wanted = last.unwrap_or(0).saturating_add(1);
    if head.version == wanted {
        return Ok(());
    }
    Err(Refused::NotNext { role: role.to_owned(), found: head.version, wanted })
}
