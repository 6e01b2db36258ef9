//! The version that runs, started on a copy of its own state: can it open it?

use std::path::Path;
use std::time::Duration;

use super::report::millis;
use super::room::Room;
use super::view::StateView;
use super::{ShadowError, migration, plan, tail, watch};
use crate::durable::{self, OnDisk};
use crate::generation::Generation;
use crate::shadow::exit_text;
use crate::{Config, Home};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It was ready and healthy.
    Ready {
        /// From its start, in milliseconds.
        after_ms: u64,
    },
    /// It was not.
    Refused {
        /// Why, to a person.
        reason: String,
    },
}

/// Starts `generation` on `copy`, which it writes, until it is ready and has answered its health probe once. What it
/// tries to reach does not count: it is not on trial.
///
/// # Errors
/// The sandbox could not be had.
pub fn open(
    home: &Home,
    config: &Config,
    generation: &Generation,
    copy: &Path,
) -> Result<Opening, ShadowError> {
    let log = home.log().join("open.log");
    durable::append_to(&log)?.set_len(0).on_disk("write", &log)?;
    let room = Room::new(generation.tree(home), StateView::Own(copy.to_owned()), config, &log);
    let made_up = migration::identity(config, generation, &room)?;
    if let Some(reason) = made_up.and_then(|made| made.trouble) {
        return Ok(Opening::Refused { reason });
    }
    let plan = plan(config, &generation.launch, Duration::ZERO, &log);
    let seen = watch::watch(room.node(&generation.launch)?, &plan, None, None)?.new;
    let trouble = seen.health.and_then(|health| health.trouble);
    let reason = match (seen.ready_after, trouble) {
        _ if seen.early => format!("it ended by itself, with {}", exit_text(seen.exit)),
        (None, _) => format!("it was not ready after {} ms", millis(seen.waited)),
        (Some(_), Some(trouble)) => format!("its health probe failed: {trouble}"),
        (Some(after), None) => return Ok(Opening::Ready { after_ms: millis(after) }),
    };
    // Its last words are the best reason there is.
    let said = tail(&log)?;
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let last: String = last.chars().filter(|c| !c.is_control()).take(300).collect();
    Ok(Opening::Refused { reason: format!("{reason} ({last})") })
}
