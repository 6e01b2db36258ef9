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
use crate::supervise::{MIGRATION, SuperviseError, end_overdue_migrations};

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
    end_overdue_migrations(home, limit);
    let alone = Alone::within(home, data, limit)?;
    let mut environment = release.launch.environment.clone();
    environment.insert(MIGRATION.to_owned(), home.text(home.path()));
    let log = home.log().join("migrate.log");
    command::run(&words, environment, data, &log, limit, alone.handles()?.into())
        .map_err(|source| MigrateError::Command { area: area.clone(), from, to, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::lock_state;
    use std::process::Command;

    #[test]
    fn what_a_dead_agents_migration_left_is_ended_once_it_is_older_than_a_migration_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        let daemon = |marked: bool| {
            let lock = lock_state(&home).unwrap();
            let mut command = Command::new("sleep");
            if marked {
                command.env(MIGRATION, home.path());
            }
            command.arg("600").stdin(lock).spawn().unwrap()
        };
        let mut strangers = daemon(false);
        end_overdue_migrations(&home, Duration::ZERO);
        assert!(lock_state(&home).is_err(), "whoever it is, it is no migration's");
        strangers.kill().unwrap();
        strangers.wait().unwrap();
        let mut left = daemon(true);
        end_overdue_migrations(&home, Duration::from_hours(1));
        assert!(lock_state(&home).is_err(), "it may need that long");
        // The kernel shows a new program's environment a moment after its start.
        let ended = (0..10_000).any(|_| {
            end_overdue_migrations(&home, Duration::ZERO);
            left.try_wait().unwrap().is_some()
        });
        assert!(ended, "it is overdue");
        lock_state(&home).unwrap();
    }
}
