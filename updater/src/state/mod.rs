//! Copies of a node's state, and migrations of it. The live data directory is only ever read here.
//!
//! ```text
//! NODE/snapshots/N/           manifest.json (every file with its digest), tree/
//! NODE/snapshots/partial-N/   being copied; may be thrown away
//! NODE/state/K/               live data: read, migrated by the release's own commands, never removed
//! ```

mod blocks;
pub mod command;
pub mod copy;
mod manifest;
pub mod migrate;
pub mod shadow_copy;
pub mod snapshot;

use std::path::PathBuf;

use crate::durable::DiskError;
use crate::supervise::{ClientError, SuperviseError};

pub use copy::Copier;
pub use manifest::Manifest;

/// State that cannot be copied or restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something that is neither file, directory nor symbolic link.
    #[error("{path} is a {what}; state that holds one cannot be copied")]
    Special {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It was there a moment ago, and nothing should have written.
    #[error("{0} changed while nothing should have written it")]
    Moving(PathBuf),
    /// The copy is not what was copied.
    #[error("{0} was read back and is not what was written")]
    Different(PathBuf),
    /// Not enough space for a copy.
    #[error("{path} needs {needed} bytes of free space and has {free}")]
    Space {
        /// On this file system.
        path: PathBuf,
        /// Bytes, with a margin.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// The node could not be frozen, or not for long enough.
    #[error("the state could not be held still for a copy")]
    Freeze(#[source] ClientError),
    /// The freeze ended before the copy did.
    #[error("the copy took longer than the node may be frozen")]
    Thawed,
    /// Somebody else writes the state.
    #[error(transparent)]
    Lock(#[from] SuperviseError),
    /// No such snapshot.
    #[error("snapshot {0} is not there")]
    NoSnapshot(u64),
    /// A manifest that cannot be read or written.
    #[error("the manifest of {path} is damaged")]
    Manifest {
        /// The snapshot.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}
