//! `--log json`: each thing that happens as one object a line, for log collectors. The names are stable (docs/formats.md).

use countersign_console::{Exit, Failure, Out};
use countersign_updater::Home;
use countersign_updater::generation::Generation;
use countersign_updater::machine::journal::Kind;
use countersign_updater::machine::{Blame, Effect, Record, State};
use jiff::Timestamp;
use serde::Serialize;

/// How a long-running verb tells what happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Sentences, for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl Format {
    /// A stream of objects and one document at the end are two different things.
    pub(crate) fn check(self, out: Out) -> Result<(), Failure> {
        if self == Self::Json && out.is_json() {
            return Err(Failure::new(
                Exit::Usage,
                "--log json and --json are two different things",
            )
            .hint("--log json prints a line for each step, --json one document at the end"));
        }
        Ok(())
    }
}

/// One line.
#[derive(Serialize)]
pub(crate) struct Line {
    time: Timestamp,
    level: &'static str,
    /// Where the updater rests; `null` in a supervisor's line.
    state: Option<&'static str>,
    /// What is done; `null` while there is nothing to do.
    effect: Option<Effect>,
    step: &'static str,
    reason: String,
    /// The release that this is about; in a supervisor's line, the one that `current` names.
    version: Option<String>,
}

/// A step of the agent.
pub(crate) fn step(record: &Record) -> Line {
    let Record { at, kind, effect, why, state, .. } = record;
    let (level, step) = match kind {
        Kind::Intent => ("info", "begun"),
        Kind::Done if matches!(state, State::RolledBack { .. }) => ("error", "done"),
        Kind::Done => ("info", "done"),
        Kind::Failed { blame: Blame::Release } => ("error", "failed"),
        Kind::Failed { blame: Blame::World } => ("warning", "failed"),
    };
    Line { time: at.wall, level, effect: Some(*effect), step, ..about(state, why) }
}

/// The agent has nothing to do just now.
pub(crate) fn waits(state: &State, why: &str) -> Line {
    about(state, why)
}

fn about(state: &State, why: &str) -> Line {
    Line {
        time: Timestamp::now(),
        level: "info",
        state: Some(state.name()),
        effect: None,
        step: "waiting",
        reason: why.to_owned(),
        version: state.candidate().map(|candidate| candidate.version.to_string()),
    }
}

/// A sentence of a supervisor, or of an agent about itself.
pub(crate) fn said(sentence: &str, home: Option<&Home>) -> Line {
    let running = home.and_then(|home| Generation::current(home).ok()?);
    Line {
        time: Timestamp::now(),
        level: "info",
        state: None,
        effect: None,
        step: "said",
        reason: sentence.to_owned(),
        version: running.map(|generation| generation.version.to_string()),
    }
}
