//! Copies of a node's state, and migrations of it. The live data directory is only ever read here.
//!
//! ```text
//! NODE/snapshots/N/           manifest.json (every file with its digest), tree/
//! NODE/snapshots/partial-N/   being copied; may be thrown away
//! NODE/state/K/               live data: read, migrated by the release's own commands, never removed
//! NODE/shadow/above/          what payloads in the shadow write, each above that moment
//! NODE/shadow/state/          one moment of live data without its secrets, for the shadow; image/, open/ on the way
//! ```

mod blocks;
pub mod command;
pub mod copy;
pub mod data_dir;
pub mod ladder;
mod manifest;
pub mod migrate;
pub mod opening;
pub mod reading;
mod receive;
mod scratch;
mod secrets;
pub mod shadow_copy;
pub mod snapshot;

use std::path::PathBuf;

use countersign_metadata::Version;

use crate::durable::DiskError;
use crate::shadow::ShadowError;
use crate::supervise::{ClientError, SuperviseError};

pub use copy::Copier;
pub use ladder::Rung;
pub(crate) use manifest::escape;
pub use manifest::{Item, Manifest, Opened};
pub use receive::receive;
pub(crate) use scratch::remove_below;
pub use secrets::Secrets;

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
    /// A subvolume inside the subvolume: a snapshot of it has nothing in its place.
    #[error("{0} is a subvolume of its own, which a snapshot leaves out")]
    Nested(PathBuf),
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
    /// The version that runs could not open a copy.
    #[error("version {version} cannot open a copy of its own state: {reason}")]
    NotOpened {
        /// Which one.
        version: Version,
        /// What it did.
        reason: String,
    },
    /// Whether it could was not to be found out.
    #[error("a copy of the state cannot be tried in the sandbox")]
    Sandbox(#[from] Box<ShadowError>),
    /// A format that this version does not know.
    #[error("the manifest of {path} has format {format}; a newer version can read it")]
    Format {
        /// The snapshot.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// No such snapshot.
    #[error("snapshot {0} is not there")]
    NoSnapshot(u64),
    /// Its number belongs to a generation of this node.
    #[error("snapshot {0} cannot come from elsewhere: generation {0} is this node's own")]
    Taken(u64),
    /// A manifest that cannot be read or written.
    #[error("the manifest of {path} is damaged")]
    Manifest {
        /// The snapshot.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}
