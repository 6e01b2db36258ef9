//! Why a draft or publication cannot be made.

use crate::release::BadRelease;
use crate::rollout::BadRollout;
use crate::trust::TrustError;
use crate::{Product, Sha256, Version};

/// Why a draft or publication cannot be made. Nothing has been changed by then.
#[derive(Debug, thiserror::Error)]
pub enum AuthoringError {
    /// What is published does not verify, whatever its expiry.
    #[error("what is published already does not verify")]
    Published(#[source] TrustError),
    /// A client would refuse what is about to be published.
    #[error("{client} would refuse this publication")]
    ClientRefuses {
        /// Which kind of client.
        client: &'static str,
        /// Why.
        #[source]
        source: TrustError,
    },
    /// A client would pass over a release that is about to be published.
    #[error("clients would refuse the release {path}")]
    ReleaseRefused {
        /// Its target path.
        path: String,
        /// Why.
        #[source]
        source: Box<BadRelease>,
    },
    /// The plan of a repository makes no sense.
    #[error("{0}")]
    Plan(String),
    /// The release is no release.
    #[error("the release makes no sense")]
    Release(#[source] Box<BadRelease>),
    /// The role's bytes would not be readable by all TUF clients.
    #[error("{role} cannot be written so that every TUF client reads it: {reason}")]
    Unwritable {
        /// The role.
        role: String,
        /// What stands in the way.
        reason: String,
    },
    /// The repository has no such product.
    #[error("the repository has no product {0}")]
    UnknownProduct(Product),
    /// A version is never replaced.
    #[error("{path} is released already; a release is never replaced")]
    AlreadyReleased {
        /// The target path.
        path: String,
    },
    /// A version that was revoked does not come back.
    #[error("version {version} is revoked; it does not come back")]
    Revoked {
        /// The version.
        version: Version,
    },
    /// What is said about when nodes take a version makes no sense.
    #[error("the rollout makes no sense")]
    Rollout(#[from] BadRollout),
    /// There is nothing to revoke.
    #[error("{product} has no release {version}")]
    NoSuchRelease {
        /// The product.
        product: Product,
        /// The version.
        version: Version,
    },
    /// A bin that was not loaded.
    #[error("the bin {role} was not loaded")]
    NotLoaded {
        /// Its role.
        role: String,
    },
    /// A rotation that would leave everything as it is.
    #[error("nothing would change")]
    NoChange,
    /// The published keys are not one circle of keyholders and one online key.
    #[error(
        "the published keys of {role} are not those of root: this repository was not made by `init`"
    )]
    NoCircle {
        /// The role.
        role: String,
    },
    /// A signing request is malformed.
    #[error("the signing request for {role} is malformed")]
    Request {
        /// The role.
        role: String,
        /// What is wrong.
        #[source]
        source: TrustError,
    },
    /// A role has too few signatures.
    #[error("{role} still needs {missing} of {needed} signatures")]
    Incomplete {
        /// The role.
        role: String,
        /// How many more.
        missing: usize,
        /// The threshold.
        needed: usize,
    },
    /// The draft was made for another state of the repository.
    #[error(
        "the draft holds {role} version {drafted}, but the repository is at version {published}"
    )]
    Superseded {
        /// The role.
        role: String,
        /// The drafted version.
        drafted: u64,
        /// The published version.
        published: u64,
    },
    /// The signer command failed.
    #[error("the signer did not sign {role}")]
    Signer {
        /// The role.
        role: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The signer signed with a key that may not sign the role.
    #[error("the signer used key {key:?}, which may not sign {role}")]
    WrongSigner {
        /// The role.
        role: String,
        /// The key's identifier.
        key: Sha256,
    },
}

impl From<BadRelease> for AuthoringError {
    fn from(error: BadRelease) -> Self {
        Self::Release(Box::new(error))
    }
}
