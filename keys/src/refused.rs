//! Why something is not explained, or not signed.

use countersign_metadata::request::FORMAT;
use countersign_metadata::trust::TrustError;

/// A request that is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Written by another Countersign.
    #[error("the request has format {0}, and this program knows format {FORMAT}")]
    Format(u32),
    /// Bytes that are not what they should be.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which bytes.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The parsed meaning and the signed bytes could differ.
    #[error("{0} is not in canonical form: what it says and what would be signed could differ")]
    NotCanonical(String),
    /// Something that a review could not show.
    #[error("{what} carries {field}, which this program cannot explain")]
    Unexplained {
        /// Which bytes.
        what: String,
        /// What it carries.
        field: String,
    },
    /// Nothing to judge the request from.
    #[error("nothing proves what the request says about {0:?}: no root is pinned")]
    NoPinnedRoot(String),
    /// A second, different beginning.
    #[error("the request is for a first root, but another root (version {0}) is pinned")]
    OtherFirstRoot(u64),
    /// The request's history is not the pinned one.
    #[error("root version {0} in the request is not the root that is pinned")]
    OtherRoot(u64),
    /// The request ends before the pinned root.
    #[error("the request knows {newest} published roots, but root version {pinned} is pinned")]
    Behind {
        /// The pinned version.
        pinned: u64,
        /// The newest version in the request.
        newest: usize,
    },
    /// Not enough of the right keys have signed it.
    #[error("{what} is not signed as it must be")]
    NotSigned {
        /// Which bytes.
        what: String,
        /// How many have, how many must.
        source: TrustError,
    },
    /// The last version in the request is not the newest root.
    #[error("the last root in the request is not the newest of its chain")]
    OtherLast,
    /// A step back, or a jump.
    #[error("{role} version {found} does not follow the last one: it must be version {wanted}")]
    NotNext {
        /// The role.
        role: String,
        /// The version to be signed.
        found: u64,
        /// The version that would follow.
        wanted: u64,
    },
    /// A file would go back, or vanish.
    #[error("{role} would take {file} back from version {from} to {to}")]
    Rollback {
        /// The role.
        role: String,
        /// Which file.
        file: String,
        /// Its version in the last one.
        from: u64,
        /// `nothing` or its version in the new one.
        to: String,
    },
    /// Nobody delegates to the product.
    #[error("the request shows no delegation to {0:?}")]
    NotDelegated(String),
    /// The key has no say here.
    #[error("this key is not among those that sign {0}")]
    NotASigner(String),
    /// A statement in somebody else's name.
    #[error("the statement speaks for {0}, not for this key")]
    OtherIdentity(String),
    /// The keyholder has not shown an own rebuild.
    #[error("the request adds {0}, and no rebuild of your own is shown")]
    NotRebuilt(String),
    /// A verdict that does not stand for this keyholder's rebuild of this release.
    #[error("the verdict does not stand for your rebuild of {release}: {reason}")]
    Verdict {
        /// The release.
        release: String,
        /// Why not.
        reason: String,
    },
    /// The key cannot sign.
    #[error("the key cannot sign")]
    Signing(#[from] crate::secret::CannotSign),
    /// A signature of another tool that is not one over the request.
    #[error("the signature of the other tool is refused")]
    Raw(#[from] crate::raw::BadRaw),
    /// A signature of another tool, of a release that was not rebuilt, and no signed word that it was not.
    #[error("the release was not rebuilt, and your signed word that it was not is missing")]
    NotWaived,
    /// A signature carries one verdict.
    #[error("the request adds {0} releases, but a signature carries the verdict about one")]
    SeveralReleases(usize),
    /// A renewal, where one role is wanted.
    #[error("the request is a renewal of many roles, and one is wanted here")]
    ManyRoles,
}

impl Refused {
    pub(crate) fn malformed(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { what: what.to_owned(), reason: reason.to_string() }
    }
}
