//! Where a repository is kept: a directory or a bucket. Objects appear whole, and none is ever overwritten but the
//! owner's marker.
//!
//! ```text
//! config  keys/  data/XX/  index/  snapshots/  locks/   a restic repository: everything in it is encrypted
//! countersign-owner.json                                 who may write it
//! ```

mod bucket;
mod directory;

use std::io;

use countersign_updater::config::backup::Place;
use jiff::Timestamp;

pub use bucket::Bucket;
pub use directory::Directory;

/// The owner's marker.
pub(crate) const MARKER: &str = "countersign-owner.json";
/// Longest marker, in bytes.
const MAX_MARKER: u64 = 1 << 16;

/// A store that does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such directory: a disk that is not plugged in, a share that is not mounted.
    #[error("there is no directory {0}")]
    Gone(String),
    /// It cannot be reached, or fails; trying again can help.
    #[error("cannot {what} in {place}: {reason}")]
    Unreachable {
        /// What was asked.
        what: String,
        /// Where.
        place: String,
        /// What came back, without secrets.
        reason: String,
    },
    /// It says no: credentials, bucket or permissions.
    #[error("{place} does not let this node {what}: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// Where.
        place: String,
        /// What came back, without secrets.
        reason: String,
    },
    /// Something that should be there is not.
    #[error("{place} does not have {path}")]
    Missing {
        /// Where.
        place: String,
        /// The object.
        path: String,
    },
    /// An object is longer than it may be, or shorter than it was.
    #[error("{path} in {place} has not the length that it must have")]
    Length {
        /// Where.
        place: String,
        /// The object.
        path: String,
    },
    /// Credentials that are not there or cannot be used.
    #[error("there are no credentials for the store: {0}")]
    Credentials(String),
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the store's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<Timestamp>,
}

/// What the marker was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(pub(crate) String);

/// What came of replacing the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// It is what was asked for.
    Done,
    /// Somebody else was faster.
    Lost,
}

/// A place for objects.
pub trait Store: Send + Sync {
    /// Its name, to a person.
    fn place(&self) -> &str;

    /// Every object below a directory; nothing if that is not there.
    ///
    /// # Errors
    /// The store fails.
    fn list(&self, directory: &str) -> Result<Vec<Entry>, StoreError>;

    /// A whole object of at most `max` bytes; `None` if it is not there.
    ///
    /// # Errors
    /// The store fails, or the object is longer.
    fn get(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// A part of an object.
    ///
    /// # Errors
    /// The store fails, or the object does not have that part.
    fn part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, StoreError>;

    /// Writes an object, durably. Its name is its digest, so one that is there already is the same.
    ///
    /// # Errors
    /// The store fails; the object is then there whole or not at all.
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Removes an object. One that is not there stays so.
    ///
    /// # Errors
    /// The store fails.
    fn remove(&self, path: &str) -> Result<(), StoreError>;

    /// The owner's marker.
    ///
    /// # Errors
    /// The store fails.
    fn marker(&self) -> Result<Option<(Vec<u8>, Stamp)>, StoreError>;

    /// Replaces the marker if it is still what it was; `None`: if there is none.
    ///
    /// # Errors
    /// The store fails.
    fn swap_marker(&self, before: Option<&Stamp>, bytes: &[u8]) -> Result<Swapped, StoreError>;

    /// Whether two that replace the marker at once can both believe that they did.
    ///
    /// # Errors
    /// The store fails.
    fn is_atomic(&self) -> Result<bool, StoreError>;
}

/// Opens the store that a configuration names.
///
/// # Errors
/// There are no credentials for it. Whether it is there shows when it is used.
pub fn open(place: &Place) -> Result<Box<dyn Store>, StoreError> {
    Ok(match place {
        Place::Directory(path) => Box::new(Directory::new(path)),
        Place::Bucket(place) => Box::new(Bucket::open(place)?),
    })
}

/// Whether an error says no, rather than not now.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}
