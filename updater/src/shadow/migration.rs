//! The copy is brought to the schemas of the release, area by area, and gets a throw-away identity where one is declared.
//!
//! Secret areas are not in the copy. If the version that runs can make up an identity, it does so first, and all areas are
//! migrated; else their migrations are left out, and the release makes one up, if it can, when the rest is migrated.

use countersign_metadata::node;
use countersign_sandbox::{Attempt, Exit};

use super::report::{self, MigrationRun};
use super::room::{Room, STATE};
use super::{ShadowError, exit_text};
use crate::epochs;
use crate::generation::Generation;
use crate::state::Secrets;
use crate::{Config, Home};

/// What was done to the copy.
pub(super) struct Rehearsal {
    /// Migrations, in the order in which they ran.
    pub(super) runs: Vec<MigrationRun>,
    /// The release's own identity command, if it ran.
    pub(super) identity: Option<MadeUp>,
    /// Secret areas that were not in the copy.
    pub(super) left_out: Vec<String>,
}

/// What a command that makes up an identity did.
pub(super) struct MadeUp {
    /// What went wrong, if anything.
    pub(super) trouble: Option<String>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) unaccounted: u64,
}

impl Rehearsal {
    /// Whether there is nothing to be started on the copy.
    pub(super) fn failed(&self) -> bool {
        let no_identity = self.identity.as_ref().is_some_and(|made| made.trouble.is_some());
        no_identity || self.runs.iter().any(|run| !run.succeeded())
    }
}

pub(super) fn run(
    home: &Home,
    config: &Config,
    new: &Generation,
    room: &Room,
    old: Option<&Generation>,
) -> Result<Rehearsal, ShadowError> {
    let made_up = match old.filter(|old| !old.launch.secrets.is_empty()) {
        Some(old) => {
            let room = Room { tree: old.tree(home), ..room.clone() };
            // If it cannot, the release is not to blame: its migrations of secret areas are left out.
            identity(config, old, &room)?.is_some_and(|made| made.trouble.is_none())
        }
        None => false,
    };
    let mut this = Rehearsal { runs: Vec::new(), identity: None, left_out: Vec::new() };
    let theirs = old.map(|old| old.launch.secrets.clone()).unwrap_or_default();
    let secrets = Secrets::of(new).and(theirs);
    this.left_out = secrets.paths().iter().map(ToString::to_string).collect();
    let Some(old) = old else { return this.with_identity(config, new, room, made_up) };
    let crossings = epochs::crossings(old.schemas(), &old.held, new.schemas());
    for crossing in crossings.into_iter().filter(|crossing| !crossing.lazy) {
        let Some(command) = new.launch.migrations.get(&crossing.area) else { continue };
        let is_secret = [&new.launch, &old.launch].map(|l| l.secret_areas.contains(&crossing.area));
        if !made_up && is_secret.contains(&true) {
            continue;
        }
        let (from, to) = (crossing.from.to_string(), crossing.to.to_string());
        let words = node::fill(command, &[("from", &from), ("to", &to), ("state", STATE)]);
        let ended = room.command(&new.launch, &words, config.shadow.migrate)?.run()?;
        let run = MigrationRun {
            area: crossing.area,
            from: crossing.from,
            to: crossing.to,
            exit: ended.exit,
            took_ms: report::millis(ended.usage.wall),
            left_running: ended.left_running,
            attempts: ended.attempts,
            unaccounted: ended.unaccounted,
        };
        let failed = !run.succeeded();
        this.runs.push(run);
        if failed {
            return Ok(this);
        }
    }
    this.with_identity(config, new, room, made_up)
}

impl Rehearsal {
    fn with_identity(
        mut self,
        config: &Config,
        new: &Generation,
        room: &Room,
        made_up: bool,
    ) -> Result<Self, ShadowError> {
        if !made_up {
            self.identity = identity(config, new, room)?;
        }
        Ok(self)
    }
}

/// Lets a version make up an identity in the copy. `None`: it has no command for that.
pub(super) fn identity(
    config: &Config,
    generation: &Generation,
    room: &Room,
) -> Result<Option<MadeUp>, ShadowError> {
    let Some(command) = &generation.launch.identity else { return Ok(None) };
    let words = node::fill(command, &[("state", STATE)]);
    let ended = room.command(&generation.launch, &words, config.shadow.migrate)?.run()?;
    let trouble = match ended.exit {
        Exit::Code(0) if ended.left_running == 0 => None,
        Exit::Code(0) => Some(format!("left {} processes running", ended.left_running)),
        exit => Some(format!("ended with {}", exit_text(exit))),
    };
    let trouble = trouble.map(|it| format!("its command that makes up an identity {it}"));
    let (attempts, unaccounted) = (ended.attempts, ended.unaccounted);
    Ok(Some(MadeUp { trouble, attempts, unaccounted }))
}
