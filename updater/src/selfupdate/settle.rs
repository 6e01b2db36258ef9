//! Proving itself: the new agent has read everything it needs, and has the supervisor become the same program.

use std::time::{Duration, Instant};

use super::{Place, me};
use crate::Home;
use crate::durable::DiskError;
use crate::supervise::{Client, ClientError, Request};

/// A supervisor that was asked to become the new program answers again within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it stands with the program that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nothing is to be proved (any more).
    Yes,
    /// Not yet, and why.
    Waits(String),
    /// Another program is named: this one makes way.
    Other,
}

/// Looks once, and does the next thing. `asked` remembers since when the supervisor should have become this program.
///
/// # Errors
/// The disk fails.
pub(crate) fn settle(
    home: &Home,
    supervisor: &Client,
    asked: &mut Option<Instant>,
) -> Result<Settled, DiskError> {
    let place = Place::of(home);
    let Some(attempt) = place.attempt()? else { return Ok(Settled::Yes) };
    if place.named().as_ref() != Some(&attempt.to) {
        place.settle()?;
        return Ok(Settled::Yes);
    }
    if place.program() != me() {
        return Ok(Settled::Other);
    }
    let version = &attempt.version;
    match supervisor.status() {
        Ok(status) if status.program == me() => {
            place.settle()?;
            return Ok(Settled::Yes);
        }
        Ok(_) => match supervisor.ask(Request::Replace) {
            // It may become the other program before it answers.
            Ok(_) | Err(ClientError::Broken { .. }) => {
                asked.get_or_insert_with(Instant::now);
            }
            Err(error) => {
                *asked = None;
                return Ok(Settled::Waits(format!("the supervisor stays as it is: {error}")));
            }
        },
        Err(error) if asked.is_none() => {
            return Ok(Settled::Waits(format!(
                "the updater {version} is kept once the supervisor runs it too: {error}"
            )));
        }
        Err(_) => {}
    }
    if asked.is_some_and(|since| since.elapsed() > PATIENCE) {
        place.put_back(&attempt, "the supervisor did not come back as this program")?;
        return Ok(Settled::Other);
    }
    Ok(Settled::Waits(format!("the supervisor becomes the updater {version}")))
}
