//! Off-machine copies of a node's snapshots: encrypted and deduplicated, as a restic repository in a directory or bucket.
//!
//! [`rustic_core`] is the format; [`store`] is where the bytes go; [`owner`] keeps a second writer out. What is on the
//! node is what is true: nothing here ever changes it but [`restore`], which only adds.

pub mod check;
pub mod owner;
pub mod repository;
pub mod restore;
pub mod retain;
pub mod secret;
mod source;
pub mod store;
pub mod upload;

use countersign_updater::durable::DiskError;
use countersign_updater::fetch::FetchError;
use countersign_updater::generation::GenerationError;
use countersign_updater::stage::StageError;
use countersign_updater::state::StateError;
use countersign_updater::state::migrate::MigrateError;
use countersign_updater::trust_store::TrustStoreError;

pub use owner::OwnerError;
pub use repository::{Copy, Repository};
pub use secret::SecretError;
pub use store::{Store, StoreError};

/// A backup or a restoration that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store is not this node's.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// A password that cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The wrong password.
    #[error("the password does not open the repository in {0}")]
    WrongPassword(String),
    /// Nothing was ever initialised there.
    #[error("there is no repository in {0}")]
    NoRepository(String),
    /// Something is there already.
    #[error("there is a repository in {0} already")]
    Exists(String),
    /// A stock restic is at work on the repository.
    #[error("{place} is locked by restic since {since}")]
    Locked {
        /// The store.
        place: String,
        /// When the lock was written or renewed.
        since: jiff::Timestamp,
    },
    /// The repository's library, or what it found there.
    #[error("cannot {what} the repository in {place}: {reason}")]
    Repository {
        /// What was asked.
        what: &'static str,
        /// The store.
        place: String,
        /// What the library says.
        reason: String,
    },
    /// A file of the snapshot could not be read, or is not what its manifest says.
    #[error("snapshot {number} cannot be copied: {reason}")]
    Source {
        /// The snapshot on this disk.
        number: u64,
        /// What is wrong.
        reason: String,
    },
    /// Secrets stay here, and one of them lies where others go.
    #[error("snapshot {number} cannot be copied: {path} is another name of a secret file")]
    SecretElsewhere {
        /// The snapshot on this disk.
        number: u64,
        /// The name that is not secret.
        path: std::path::PathBuf,
    },
    /// The repository holds no snapshot of a node.
    #[error("there is no snapshot in {0}")]
    Empty(String),
    /// No such snapshot.
    #[error("there is no snapshot {id} in {place}")]
    NoSuchCopy {
        /// What was asked for.
        id: String,
        /// The store.
        place: String,
    },
    /// A copy that does not hold what a node writes.
    #[error("snapshot {id} is not a node's: {reason}")]
    NotANodes {
        /// Its name in the store.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// The node is not empty.
    #[error("{0} is not empty")]
    Occupied(std::path::PathBuf),
    /// Another product's state.
    #[error("snapshot {id} is of {theirs}, and this node runs {ours}")]
    OtherProduct {
        /// Its name in the store.
        id: String,
        /// Its product.
        theirs: String,
        /// This node's.
        ours: String,
    },
    /// A copy in which what is secret was left out.
    #[error("snapshot {id} was made without {}", paths.join(", "))]
    WithoutSecrets {
        /// Its name in the store.
        id: String,
        /// What is not in it.
        paths: Vec<String>,
    },
    /// The release that the state belongs to cannot be had, and no other can read it.
    #[error("version {version}, which the state belongs to, cannot be run here: {reason}")]
    NoRelease {
        /// The version that wrote the state.
        version: String,
        /// Why.
        reason: String,
    },
    /// Something of this node is at work.
    #[error("{0} is at work on this node")]
    Busy(&'static str),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The node's snapshots or state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The node's generations.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// The repository of releases.
    #[error(transparent)]
    Trust(#[from] TrustStoreError),
    /// A release.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A release.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A migration.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}
