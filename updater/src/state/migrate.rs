//! Brings an area of the live state from one schema to another, by the new release's own command, forward or back.
//!
//! The command ran in the shadow on a copy before; here it runs as the node does. It is idempotent by contract, so an
//! interrupted one is run again to completion.

use std::path::Path;
use std::time::Duration;

use countersign_metadata::Area;

use super::command::{self, CommandError};
use super::data_dir::Alone;
use crate::Home;
use crate::generation::Generation;
use crate::supervise::SuperviseError;

/// A migration that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The release brings no command for this area.
    #[error("version {version} brings no migration of {area} from schema {from} to {to}")]
    None {
        /// The release's version.
        version: String,
        /// The area.
        area: Area,
        /// Its schema now.
        from: u32,
        /// The schema wanted.
        to: u32,
    },
    /// Somebody else writes the state.
    #[error(transparent)]
    Lock(#[from] SuperviseError),
    /// The command failed.
    #[error("the migration of {area} from schema {from} to {to} failed")]
    Command {
        /// The area.
        area: Area,
        /// Its schema before.
        from: u32,
        /// The schema wanted.
        to: u32,
        /// Why.
        source: CommandError,
    },
}

impl MigrateError {
    /// Whether the release is at fault, and not this machine.
    pub fn blames_release(&self) -> bool {
        match self {
            Self::None { .. } => true,
            Self::Lock(_) => false,
            Self::Command { source, .. } => source.blames_release(),
        }
    }
}

/// Migrates `area` of the data directory `data` with the commands of `release`. The state stays locked while any process of
/// the command lives, also if this process dies.
///
/// # Errors
/// There is no command, somebody else writes the state, or the command fails or takes longer than `limit`.
pub fn run(
    home: &Home,
    release: &Generation,
    data: &Path,
    area: &Area,
    (from, to): (u32, u32),
    limit: Duration,
) -> Result<(), MigrateError> {
    let Some(words) = release.migration(home, area, data, from, to) else {
        let (version, area) = (release.version.to_string(), area.clone());
        return Err(MigrateError::None { version, area, from, to });
    };
    // The same migration may still be at work, begun by an agent that was killed: it comes to its end first.
    let alone = Alone::within(home, data, limit)?;
    let environment = release.launch.environment.clone();
    let log = home.log().join("migrate.log");
    command::run(&words, environment, data, &log, limit, alone.handles()?.into())
        .map_err(|source| MigrateError::Command { area: area.clone(), from, to, source })
}
