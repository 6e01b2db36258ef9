//! `shadow run`: any program in the shadow's sandbox, useful by itself.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign_sandbox::{Exit, Limits, Lowerable, Usage};
use serde::Serialize;

use super::judge::judged;
use super::report::{self, AttemptSeen, millis};
use super::view::StateView;
use super::written::WrittenSeen;
use super::{ShadowError, room};
use crate::durable::{DiskError, OnDisk};
use crate::state;

/// Memory of a program unless told, as of a release in the shadow: 2 GiB.
const MEMORY: u64 = 2 << 30;

/// What any program did in the sandbox.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// How it ended.
    pub exit: Exit,
    /// Whether it still ran at the end of the window and was stopped.
    pub stopped: bool,
    /// How long it was watched, in milliseconds. What it does later was not seen.
    pub watched_ms: u64,
    /// What it tried to reach. Nothing real was reached.
    pub attempts: Vec<AttemptSeen>,
    /// Packets that the kernel counted and the eye did not see.
    pub unaccounted: u64,
    /// By what it could tell that it was in a sandbox; docs/threats.md explains each name.
    pub telltales: Vec<String>,
    /// How much memory it could have, in bytes; `None` where this machine cannot limit it.
    pub memory_limit: Option<u64>,
    /// What it used up.
    pub usage: Usage,
    /// Whether output was dropped.
    pub output_truncated: bool,
    /// What it wrote to its state, if it was given one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<WrittenSeen>,
    /// Protections that it ran without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lowered: Vec<Lowerable>,
}

impl Trial {
    /// Whether it reached for the world.
    pub fn is_quiet(&self) -> bool {
        self.attempts.is_empty() && self.unaccounted == 0
    }
}

/// How any program is run.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How long it is watched at most.
    pub window: Duration,
    /// How many bytes of memory it may use; where this is absent, 2 GiB if this user can limit it.
    pub memory: Option<u64>,
    /// What it may go without.
    pub lower: Vec<Lowerable>,
    /// How many first bytes of each attempt are kept; 0 for none.
    pub first_bytes: usize,
}

/// Runs `command` within `bounds`. It has `state` as `/state` and may write there: the directory stays as it is, and what
/// was written is listed and dropped. Nobody else should write it meanwhile. `output` gets what it prints.
///
/// # Errors
/// The sandbox could not be had.
pub fn trial(
    command: Vec<OsString>,
    state: Option<PathBuf>,
    bounds: Bounds,
    output: File,
) -> Result<Trial, ShadowError> {
    let Bounds { window, memory, mut lower, first_bytes } = bounds;
    if memory.is_none() {
        lower.push(Lowerable::MemoryLimit);
    }
    let memory = memory.unwrap_or(MEMORY);
    let place = state.as_ref().map(|_| Place::make()).transpose()?;
    let view = match (&state, &place) {
        (Some(below), Some(place)) => Some(StateView::layer(below, &place.0)?),
        _ => None,
    };
    let file_bytes =
        room::longest_file(&view.iter().flat_map(StateView::seen).collect::<Vec<_>>())?;
    let limits = Limits { memory: Some(memory), file_bytes, ..Limits::default() };
    let mut sandbox = room::plain(command, limits)
        .lower(lower)
        .first_bytes(first_bytes)
        .output(output, super::MAX_OUTPUT);
    if let Some(view) = &view {
        sandbox = room::with_state(sandbox, view, room::KEEP_FREE);
    }
    let started = Instant::now();
    let mut running = sandbox.spawn()?;
    let stopped = running.wait_until(started + window)?.is_none();
    let watched_ms = millis(started.elapsed());
    if stopped {
        running.terminate(Duration::from_secs(5))?;
    }
    let ended = running.wait()?;
    Ok(Trial {
        exit: ended.exit,
        stopped,
        watched_ms,
        attempts: judged(&ended.attempts, &std::collections::BTreeSet::new()).collect(),
        unaccounted: ended.unaccounted,
        memory_limit: (!ended.lowered.contains(&Lowerable::MemoryLimit)).then_some(memory),
        telltales: report::telltales(),
        usage: ended.usage,
        output_truncated: ended.output_truncated,
        written: view.map_or(Ok(None), |view| view.written())?,
        lowered: ended.lowered,
    })
}

/// A directory of this run's own, where it is written that a disk can hold it; gone when this is dropped.
struct Place(PathBuf);

impl Place {
    fn make() -> Result<Self, DiskError> {
        let above = std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from);
        let name = above.join("countersign-shadow-XXXXXX");
        let made = nix::unistd::mkdtemp(&name).map_err(std::io::Error::from);
        made.map(Self).on_disk("make", &name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(above) = self.0.parent() {
            // What stays lies where everybody's scratch is cleared.
            _ = state::remove_below(above, &self.0);
        }
    }
}
