//! `status`: what runs, what is under way, why, what comes next and when exactly.

use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::config::Mode;
use countersign_updater::generation::Generation;
use countersign_updater::machine::journal::{self, Kind};
use countersign_updater::machine::{Blame, Effect, Ledger, Record, State};
use countersign_updater::mirrors::{Fault, For, Mirrors, Trouble};
use countersign_updater::supervise::client::Client;
use countersign_updater::supervise::protocol::{Phase, Status};
use countersign_updater::{Config, Home};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::tell;

/// Show what runs, what is under way, why, and what comes next
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
}

/// What is known about a node.
pub(crate) struct View {
    pub(crate) home: Home,
    pub(crate) running: Generation,
    pub(crate) ledger: Ledger,
    last: Option<Record>,
    pub(crate) supervisor: Result<Status, String>,
    agent: bool,
    pub(crate) config: Config,
    mirrors: Mirrors,
    /// How many releases behaved in the shadow, and how many did not, by the journal.
    pub(crate) tried: [u64; 2],
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let view = View::look(&self.node)?;
        view.say(out);
        out.json(&view.to_json());
        Ok(Exit::Done)
    }
}

/// Verdicts of the shadow: cleared, and refused.
fn tried(records: &[Record]) -> [u64; 2] {
    let count = |wanted: Kind| {
        let same = |r: &&Record| r.effect == Effect::Shadow && r.kind == wanted;
        records.iter().filter(same).count() as u64
    };
    [count(Kind::Done), count(Kind::Failed { blame: Blame::Release })]
}

impl View {
    /// Looks at a node. Writes nothing.
    pub(crate) fn look(node: &Path) -> Result<Self, Failure> {
        let (home, config) = tell::open_with_config(node)?;
        let journal = journal::read(&home.journal())
            .map_err(|error| Failure::caused(Exit::Input, "the journal cannot be read", &error))?;
        Ok(Self {
            home: home.clone(),
            running: tell::running(&home)?,
            ledger: Ledger::of(&journal.records),
            tried: tried(&journal.records),
            last: journal.records.into_iter().next_back(),
            supervisor: Client::new(&home).status().map_err(|error| error.to_string()),
            agent: agent_runs(&home),
            config,
            mirrors: Mirrors::read(&home),
        })
    }
}

/// Whether some process holds the agent's lock.
fn agent_runs(home: &Home) -> bool {
    let Ok(file) = std::fs::File::open(home.agent_lock()) else { return false };
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

impl View {
    fn say(&self, out: Out) {
        let Generation { product, version, number, binary, state, .. } = &self.running;
        out.say(format!(
            "{product} {version}  (generation {number}, artifact {}, data in state/{state})",
            binary.short()
        ));
        out.say(format!("node        {}", self.node()));
        let state = &self.ledger.state;
        let about = state.candidate().map(|c| format!(" {}", c.version)).unwrap_or_default();
        out.say(format!("updater     {}{about}{}", state.name(), self.agent_text()));
        out.say(format!("because     {}", self.reason()));
        if let Some(instant) = self.not_before() {
            out.say(format!("not before  {}{}", exact(instant), distance(instant)));
        }
        out.say(format!("next        {}", self.next()));
        for trouble in self.mirrors.troubles() {
            out.say(format!("mirror      {}", mirror(trouble)));
        }
        for bad in self.ledger.bad.values() {
            out.say(format!("known bad   {} since {}: {}", bad.version, bad.at, bad.reason));
        }
        for tried in self.ledger.attempts.values() {
            out.say(format!(
                "tried       {} times, last {}: {}",
                tried.count, tried.last, tried.reason
            ));
        }
    }

    fn node(&self) -> String {
        match &self.supervisor {
            Err(error) => format!("unknown: {error}"),
            Ok(status) => {
                let phase = phase(status.phase);
                let pid = status.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
                let crashes = match status.crashes {
                    0 => String::new(),
                    n => format!(", {n} crashes"),
                };
                let more = if status.reason.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", status.reason)
                };
                format!("{phase}{pid}{crashes}{more}")
            }
        }
    }

    fn agent_text(&self) -> &'static str {
        if self.agent { "" } else { "  (no agent runs)" }
    }

    fn reason(&self) -> String {
        match (&self.ledger.trouble, &self.last) {
            (Some(trouble), _) => {
                format!(
                    "could not {} ({} times): {}",
                    trouble.effect.sentence(),
                    trouble.count,
                    trouble.reason
                )
            }
            (None, Some(record)) => record.why.clone(),
            (None, None) => "it was installed, and nothing has happened since".to_owned(),
        }
    }

    pub(crate) fn not_before(&self) -> Option<Timestamp> {
        match &self.ledger.state {
            State::Held { hold, .. } => Some(hold.not_before.wall),
            _ => None,
        }
    }

    fn next(&self) -> String {
        let every = countersign_updater::config::duration_text(self.config.check_every);
        let node = self.home.path().display();
        if self.supervisor.is_err() {
            return format!("start it: countersign-updater supervise {node}");
        }
        if !self.agent {
            return format!("start countersign-updater run {node}: nothing happens without it");
        }
        match &self.ledger.state {
            State::Idle | State::Committed { .. } | State::RolledBack { .. } => {
                format!("look for a release (every {every})")
            }
            State::Announced { .. } => "fetch it and unpack it".to_owned(),
            State::Staged { .. } => "run it in the shadow, on a copy of the state".to_owned(),
            State::Shadowed { .. } => "draw the delay".to_owned(),
            State::Held { .. } if self.config.mode == Mode::Manual => {
                format!("wait for countersign-updater apply {node}")
            }
            State::Held { .. } => format!("swap it in (now: countersign-updater apply {node})"),
            State::Probation { .. } => "watch it; keep it, or go back".to_owned(),
            State::Leased(_)
            | State::Stopped(_)
            | State::Snapshotted(_)
            | State::Migrated(_)
            | State::Switched(_) => match &self.ledger.state.swap().and_then(|s| s.undo.as_ref()) {
                Some(undo) => format!("go back to the old version: {}", undo.reason),
                None => "finish the swap".to_owned(),
            },
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({
            "running": {
                "product": self.running.product,
                "version": self.running.version,
                "artifact": self.running.binary,
                "generation": self.running.number,
                "state-dir": self.running.state,
                "areas": self.running.areas,
            },
            "node": match &self.supervisor {
                Ok(status) => serde_json::to_value(status).unwrap_or_default(),
                Err(error) => json!({ "error": error }),
            },
            "agent-runs": self.agent,
            "state": self.ledger.state.name(),
            "candidate": self.ledger.state.candidate(),
            "under-way": self.ledger.pending,
            "reason": self.reason(),
            "not-before": self.not_before(),
            "next": self.next(),
            "known-bad": self.ledger.bad,
            "attempts": self.ledger.attempts,
            "trouble": self.ledger.trouble,
            "mirrors": self.mirrors.troubles().collect::<Vec<_>>(),
        })
    }
}

/// What is wrong with a mirror.
fn mirror(trouble: &Trouble) -> String {
    let what = match trouble.fault {
        Fault::Away => "did not give",
        Fault::Busy => "refused",
        Fault::Untrusted => "lied about",
    };
    let asked = match trouble.r#for {
        For::Metadata => "the metadata",
        For::Artifact => "the artifact",
        For::Delta => "a delta",
    };
    let Trouble { mirror, reason, count, since, .. } = trouble;
    let again = match &trouble.not_before {
        Some(until) => format!("; not asked before {}{}", exact(until.wall), distance(until.wall)),
        None => String::new(),
    };
    format!("{mirror} {what} {asked} ({count} times since {}): {reason}{again}", exact(since.wall))
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Ready => "ready",
        Phase::Stopping => "stopping",
        Phase::Held => "stopped for the swap; connections queue",
        Phase::Waiting => "not running, will be started",
    }
}

fn exact(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn distance(instant: Timestamp) -> String {
    let left = instant.duration_since(Timestamp::now());
    if left <= SignedDuration::ZERO {
        return "  (now)".to_owned();
    }
    let left = Duration::try_from(left).unwrap_or_default().as_secs();
    let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
    format!("  (in {hours} h {minutes} min {seconds} s)")
}
