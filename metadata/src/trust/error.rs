//! Why a repository is not believed: which role, what was found, what was needed, whether trying again can help.

use jiff::Timestamp;

use crate::Product;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a repository, or one role of it, is not believed. Nothing of what was refused is trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The mirror or disk did not answer.
    #[error("cannot fetch {path}")]
    Unreachable {
        /// The path in the repository.
        path: String,
        /// Whether trying again can help, as the source says.
        retry: bool,
        /// What happened.
        #[source]
        source: Cause,
    },
    /// A file that must be there is not.
    #[error("the repository has no {path}")]
    Missing {
        /// The path in the repository.
        path: String,
    },
    /// More bytes than allowed: endless data.
    #[error("{path} is longer than the {limit} bytes that are allowed")]
    TooLong {
        /// The path in the repository, or the role.
        path: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The file is not the role that it should be.
    #[error("{role} metadata is malformed")]
    Malformed {
        /// The role.
        role: String,
        /// What is wrong.
        #[source]
        source: Cause,
    },
    /// Too few distinct authorised keys have signed.
    #[error("{role} version {version} is signed by {found} of the {needed} keys that it needs")]
    NotEnoughSignatures {
        /// The role.
        role: String,
        /// The version that was offered.
        version: u64,
        /// Distinct authorised keys with a valid signature.
        found: usize,
        /// The threshold.
        needed: usize,
    },
    /// A threshold of 0 would let anything pass.
    #[error("the threshold of {role} is 0, which lets anything pass")]
    ZeroThreshold {
        /// The role.
        role: String,
    },
    /// The key identifiers of a role stand for fewer distinct keys than its threshold: it can never be met.
    #[error("{role} lists {distinct} distinct keys, fewer than its threshold of {threshold}")]
    TooFewKeys {
        /// The role.
        role: String,
        /// Distinct usable keys.
        distinct: usize,
        /// The threshold.
        threshold: usize,
    },
    /// No keys are given for this role.
    #[error("nobody is authorised to sign {role}")]
    UnknownRole {
        /// The role.
        role: String,
    },
    /// The metadata is too old: the repository is frozen, or the clock is wrong.
    #[error("{role} version {version} expired at {expires}")]
    Expired {
        /// The role.
        role: String,
        /// Its version.
        version: u64,
        /// When it expired.
        expires: Timestamp,
    },
    /// An older version than one that was trusted before.
    #[error("{role} was rolled back: version {trusted} is trusted, version {offered} was offered")]
    Rollback {
        /// The role.
        role: String,
        /// The version trusted before.
        trusted: u64,
        /// The older version.
        offered: u64,
    },
    /// A role that the trusted snapshot lists is gone from the new one.
    #[error("the new snapshot no longer lists {role}")]
    Removed {
        /// The role.
        role: String,
    },
    /// Another version than the one that was asked for.
    #[error("{role} says version {found} where version {wanted} belongs")]
    OtherVersion {
        /// The role.
        role: String,
        /// The version asked for.
        wanted: u64,
        /// The version in the file.
        found: u64,
    },
    /// Length or digest differ from what the role above promises: mix and match.
    #[error("{role} metadata is not the file that was promised")]
    OtherBytes {
        /// The role.
        role: String,
        /// What differs.
        #[source]
        source: Cause,
    },
    /// The repository does not use consistent snapshots, which this program requires.
    #[error("root version {version} does not use consistent snapshots, which are required here")]
    NotConsistent {
        /// The root's version.
        version: u64,
    },
    /// The chain of new roots does not end.
    #[error("more than {limit} new roots in one refresh")]
    TooManyRoots {
        /// The limit.
        limit: u64,
    },
    /// The delegations on the way to a target do not end.
    #[error("more than {limit} delegated roles on the way to {path}")]
    TooManyRoles {
        /// The target path.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The repository does not know the product.
    #[error("the repository has no product {0}")]
    UnknownProduct(Product),
    /// The product's role delegates further, which this version of Countersign does not follow.
    #[error("{role} delegates to further roles, which this version of Countersign does not follow")]
    DelegatesFurther {
        /// The role.
        role: String,
    },
    /// [`super::Trust::refresh`] has not succeeded yet.
    #[error("nothing is trusted yet: a refresh must succeed first")]
    NotRefreshed,
}

impl TrustError {
    /// Whether trying again, without anybody changing anything, can help.
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { retry, .. } => *retry,
            // A reader between two writes of a publisher, or a stale cache in between.
            Self::Missing { .. } | Self::OtherBytes { .. } | Self::OtherVersion { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn malformed(role: &str, source: impl Into<Cause>) -> Self {
        Self::Malformed { role: role.to_owned(), source: source.into() }
    }
}
