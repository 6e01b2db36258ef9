//! `run`: the agent. Looks for releases and brings the node from one to the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::Config;
use countersign_updater::agent::{self, AgentError, Ended, Options, Tally};
use countersign_updater::config;
use countersign_updater::machine::journal::Kind;
use countersign_updater::machine::{JournalError, Ledger, Record, State, Until, Witness};
use countersign_updater::selfupdate::Role;
use countersign_updater::systemd;
use serde_json::json;

use crate::log::{self, Format};
use crate::{endpoint, tell};

const EXAMPLES: &str = "\
Examples:
  countersign-updater run /srv/examplenode
      look for releases until TERM, every `check-every` of the configuration
  countersign-updater run --until-idle /srv/examplenode
      do everything there is to do, the delay included, then end
  countersign-updater run --once /srv/examplenode
      do what can be done now, then end

  countersign-updater run --log json /srv/examplenode
      the same, as one JSON object a line for a log collector

Starting it is recovering: it goes on from the journal, whatever happened before. With --once or --until-idle, exit code 1
says that a release was refused or rolled back in this run.";

/// Look for releases; verify, try in the shadow, wait, swap, watch, roll back
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// End at the first thing that has to be waited for
    #[arg(long, conflicts_with = "until_idle")]
    once: bool,
    /// End when nothing is under way and nothing is offered
    #[arg(long)]
    until_idle: bool,
    /// How often to look while waiting; the repository is asked every `check-every`
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = config::duration)]
    poll: Duration,
    /// How each step is told: in words, or as one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    log: Format,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let until = match (self.once, self.until_idle) {
            (true, _) => Until::FirstWait,
            (_, true) => Until::Idle,
            _ => Until::Stopped,
        };
        let home = tell::open_to_write(&self.node)?;
        self.log.check(out)?;
        tell::become_current(&home, Role::Run, out)?;
        let mut narrator = Narrator::new(out, self.log);
        if let Ok(config) = Config::load(&home) {
            for warning in config.policy.warnings() {
                narrator.say(format!("note: {warning}"));
            }
        }
        let tally = Arc::new(Tally::default());
        if until == Until::Stopped {
            endpoint::start(&home, &tally, &|sentence| match self.log {
                Format::Text => out.say(sentence),
                Format::Json => out.line(&log::said(sentence, None)),
            });
        }
        let options = Options { until, poll: self.poll };
        let ended = agent::run_counting(&home, options, &mut narrator, &tally);
        if matches!(ended, Err(AgentError::Replaced)) {
            tell::become_current(&home, Role::Run, out)?;
        }
        let ended = ended.map_err(|error| failure(&error))?;
        if until != Until::Stopped && !narrator.refused {
            usable(&ended)?;
        }
        narrator.finish(&ended.ledger)
    }
}

/// Whoever asked for one round wants to know that the repository could not be asked.
pub(crate) fn usable(ended: &Ended) -> Result<(), Failure> {
    match &ended.repository {
        None => Ok(()),
        Some(trouble) if trouble.unreachable => Err(Failure::new(Exit::Network, &trouble.reason)
            .hint(
                "check the address and that the mirror is up; the node keeps running what it runs",
            )),
        Some(trouble) => Err(Failure::new(Exit::Untrusted, &trouble.reason).hint(
            "nothing was trusted and nothing was changed; the node keeps running what it runs",
        )),
    }
}

pub(crate) fn failure(error: &AgentError) -> Failure {
    match error {
        AgentError::Busy(_) => Failure::caused(Exit::Busy, "cannot run the agent", error)
            .hint("one agent is enough: countersign-updater status NODE says what it does"),
        AgentError::Config(error) => tell::config(error),
        AgentError::Home(error) => tell::home(error),
        AgentError::Generation(error) => tell::generation(error),
        AgentError::Disk(error) | AgentError::Journal(JournalError::Disk(error)) => {
            tell::disk(error)
        }
        AgentError::Journal(error) => {
            let hint = match error {
                JournalError::Full { .. } => {
                    "nothing was changed, the node runs on; while nothing is under way (countersign-updater status NODE), \
                     move the file aside and keep it: the updater begins a new one with what `current` names"
                }
                JournalError::Newer { .. } => "use the newer countersign-updater that wrote it",
                _ => {
                    "nothing was changed, the node runs on; keep the file, it says what happened, and restore it from a \
                     backup or move it aside: without a journal the updater begins anew with what `current` names. \
                     Where NODE/migrating.json is there, never do that, only the journal knows the way back: copy it and cut \
                     it off before the damaged line"
                }
            };
            Failure::caused(Exit::Input, "the journal cannot be used", error).hint(hint)
        }
        AgentError::NothingInstalled(_) => {
            Failure::caused(Exit::Input, "cannot run the agent", error)
                .hint("countersign-updater install finishes what it began when it is run again")
        }
        AgentError::Replaced => Failure::caused(Exit::Busy, "cannot go on", error)
            .hint("run it again: it begins as the updater that NODE/updater/current names"),
        AgentError::System { .. } => Failure::caused(Exit::Host, "cannot run the agent", error),
    }
}

/// Tells every step to a person.
pub(crate) struct Narrator {
    out: Out,
    log: Format,
    /// Whether systemd was told that the agent is at work.
    told: bool,
    waited: String,
    state: &'static str,
    /// For the JSON document only: a run for people may last for years.
    records: Vec<Record>,
    refused: bool,
    /// Whether a new version was committed.
    pub(crate) committed: bool,
}

impl Narrator {
    pub(crate) fn new(out: Out, log: Format) -> Self {
        let (waited, records) = (String::new(), Vec::new());
        Self { out, log, told: false, waited, state: "", records, refused: false, committed: false }
    }

    /// In words, where words are wanted.
    fn say(&self, line: impl std::fmt::Display) {
        if self.log == Format::Text {
            self.out.say(line);
        }
    }

    /// For `systemctl status`.
    fn notify(&mut self, state: &State, why: &str) {
        if !std::mem::replace(&mut self.told, true) {
            systemd::notify("READY=1");
        }
        let version = state.candidate().map(|c| format!(" {}", c.version)).unwrap_or_default();
        systemd::status(&format!("{}{version}: {why}", state.name()));
    }

    /// The exit code of what was told, and the JSON document for programs.
    pub(crate) fn finish(self, ledger: &Ledger) -> Result<Exit, Failure> {
        self.out.json(&json!({ "ledger": ledger, "steps": self.records, "waits": self.waited }));
        Ok(if self.refused { Exit::Verdict } else { Exit::Done })
    }
}

impl Witness for Narrator {
    fn recorded(&mut self, record: &Record) {
        self.waited.clear();
        self.notify(&record.state, &record.why);
        if self.log == Format::Json {
            self.out.line(&log::step(record));
        }
        let Record { effect, why, state, .. } = record;
        match &record.kind {
            Kind::Intent => self.say(format!("{}: {why}", effect.sentence())),
            Kind::Failed { .. } => {
                self.refused |= *state == State::Idle;
                self.say(format!("  did not work: {why}"));
            }
            Kind::Done => {
                self.committed |= matches!(state, State::Committed { .. });
                if let State::RolledBack { undo, .. } = state {
                    self.refused = true;
                    self.say(format!("  back on the old version: {}", undo.reason));
                    if let (Some(aside), Some(restored)) = (undo.kept_aside, undo.restored) {
                        self.say(format!(
                            "  the snapshot was restored into state/{restored}; what was written after it is \
                             kept aside in state/{aside}"
                        ));
                    }
                }
            }
        }
        if let (Kind::Done, State::Announced { candidate, fetched: false }) = (&record.kind, state)
        {
            for (id, text) in &candidate.actions {
                self.out.say(format!(
                    "  {} asks of you: {text}  (then: countersign-updater accept NODE {} {id})",
                    candidate.version, candidate.version
                ));
            }
        }
        if record.kind != Kind::Intent && self.state != state.name() {
            let version = state.candidate().map(|c| format!(" {}", c.version)).unwrap_or_default();
            self.say(format!("  {}{version}", state.name()));
            self.state = state.name();
        }
        if self.out.is_json() {
            self.records.push(record.clone());
        }
    }

    fn waits(&mut self, state: &State, why: &str) {
        if self.waited != why {
            self.notify(state, why);
            if self.log == Format::Json {
                self.out.line(&log::waits(state, why));
            }
            self.say(format!("{}: {why}", state.name()));
            why.clone_into(&mut self.waited);
        }
    }
}
