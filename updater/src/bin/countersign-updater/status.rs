//! `status`: what runs, what is under way, why, what comes next and when exactly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::ActionId;
use countersign_updater::config::Mode;
use countersign_updater::generation::Generation;
use countersign_updater::machine::facts::Leave;
use countersign_updater::machine::journal::{self, Kind};
use countersign_updater::machine::{Blame, Effect, Ledger, Moment, Order, Record, State};
use countersign_updater::mirrors::{Fault, For, Mirrors, Trouble};
use countersign_updater::shadow::{Report, saved};
use countersign_updater::supervise::client::Client;
use countersign_updater::supervise::protocol::{Phase, Status};
use countersign_updater::{Config, Home, agent, trust_store};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::report::say_measures;
use crate::run::failure;
use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater status /srv/examplenode
      what runs; which state the updater rests in, why, not before when, and what comes next
  countersign-updater status --json /srv/examplenode | jq .next";

/// Show what runs, what is under way, why, and what comes next
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
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
    now: Moment,
    orders: Vec<Order>,
    leave: Option<Leave>,
    /// Whether what runs is revoked, by what was seen last.
    revoked: bool,
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
        let now = agent::now().map_err(|error| failure(&error))?;
        let (running, ledger) = (tell::running(&home)?, Ledger::of(&journal.records));
        // Only the owner may look into run/; what nobody but them can see is left out.
        let orders = agent::pending(&home, &ledger).unwrap_or_default();
        let seen = trust_store::kept_releases(&home, &config, now.wall);
        Ok(Self {
            home: home.clone(),
            revoked: seen.is_ok_and(|releases| releases.revoked.contains(&running.version)),
            leave: agent::asked_to_leave(&home),
            now,
            orders,
            running,
            tried: tried(&journal.records),
            ledger,
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
        if let Some(report) = self.shadow() {
            out.say(format!("shadow      {} was tried there:", report.version));
            say_measures(out, &report);
        }
        for trouble in self.mirrors.troubles() {
            out.say(format!("mirror      {}", mirror(trouble)));
        }
        for (id, text) in self.open() {
            out.say(format!("asked       {text} ({id})"));
        }
        let standing = &self.ledger.standing;
        if let Some(stay) = standing.hold.as_ref().filter(|stay| stay.stands(&self.now)) {
            out.say(format!("held        no swap begins: {stay}"));
        }
        for (version, stay) in standing.held.iter().filter(|(_, stay)| stay.stands(&self.now)) {
            out.say(format!("held        {version}: {stay}"));
        }
        for order in &self.orders {
            out.say(format!("ordered     {} (not taken down yet)", order.what));
        }
        if let Some(leave) = &self.leave {
            out.say(format!("ordered     leave {}: {leave}", leave.version));
        }
        if self.revoked {
            out.say(format!("revoked     {version} runs, and its keyholders have revoked it"));
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
            (None, Some(record)) => self.waits().unwrap_or_else(|| record.why.clone()),
            (None, None) => "it was installed, and nothing has happened since".to_owned(),
        }
    }

    /// What a release in Held waits for.
    fn waits(&self) -> Option<String> {
        let State::Held { candidate, hold, .. } = &self.ledger.state else { return None };
        if !self.open().is_empty() {
            return Some("it waits until you have accepted what it asks for".to_owned());
        }
        let standing = self.ledger.standing.hold.as_ref();
        if let Some(stay) = standing.filter(|stay| stay.stands(&self.now)) {
            return Some(format!("it waits: {stay}"));
        }
        if candidate.asked || self.config.mode == Mode::Manual {
            return Some("it passed the shadow, and you decide when".to_owned());
        }
        if !hold.is_over(&self.now) {
            let said = match hold.rollout.is_empty() {
                true => String::new(),
                false => format!("; its keyholders say: {}", hold.rollout),
            };
            return Some(format!("it passed the shadow and waits its random delay{said}"));
        }
        Some(match self.config.mode {
            Mode::OnRestart => "its delay is over, and the node was not restarted since".to_owned(),
            _ => "its delay is over".to_owned(),
        })
    }

    /// What the release that waits did in the shadow. Only the owner may read it.
    fn shadow(&self) -> Option<Report> {
        let waits = matches!(self.ledger.state, State::Shadowed { .. } | State::Held { .. });
        let candidate = self.ledger.state.candidate().filter(|_| waits)?;
        saved(&self.home, &candidate.artifact).ok().flatten()
    }

    pub(crate) fn not_before(&self) -> Option<Timestamp> {
        match &self.ledger.state {
            State::Held { hold, .. } => Some(hold.end(&self.now).wall),
            _ => None,
        }
    }

    /// What the release under way asks of the operator and nobody has accepted.
    fn open(&self) -> Vec<(&ActionId, &str)> {
        let state = &self.ledger.state;
        let under_way = state.candidate().filter(|_| !state.is_rest() && state.swap().is_none());
        under_way.map(|candidate| self.ledger.standing.open(candidate)).unwrap_or_default()
    }

    fn next(&self) -> String {
        let node = self.home.path().display();
        if self.supervisor.is_err() {
            return format!("start it: countersign-updater supervise {node}");
        }
        let step = self.step();
        match self.agent {
            true => step,
            false => format!("start countersign-updater run {node}; then {step}"),
        }
    }

    fn step(&self) -> String {
        let every = countersign_updater::config::duration_text(self.config.check_every);
        let node = self.home.path().display();
        match &self.ledger.state {
            State::Idle | State::Committed { .. } | State::RolledBack { .. } => {
                format!("look for a release (every {every})")
            }
            State::Announced { .. } => "fetch it and unpack it".to_owned(),
            State::Staged { .. } => "run it in the shadow, on a copy of the state".to_owned(),
            State::Shadowed { .. } => "draw the delay".to_owned(),
            State::Held { candidate, .. } if !self.open().is_empty() => {
                let version = &candidate.version;
                format!("do what it asks for, then: countersign-updater accept {node} {version}")
            }
            State::Held { .. }
                if self.ledger.standing.hold.as_ref().is_some_and(|s| s.stands(&self.now)) =>
            {
                format!("wait for countersign-updater release {node}")
            }
            State::Held { candidate, .. } if candidate.asked => "swap it in".to_owned(),
            State::Held { .. } if self.config.mode == Mode::Manual => {
                format!("wait for countersign-updater apply {node}")
            }
            State::Held { .. } if self.config.mode == Mode::OnRestart => {
                format!(
                    "swap it in with the node's next restart after that (now: countersign-updater apply {node})"
                )
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
            "asked-of-you": self.open().into_iter().collect::<BTreeMap<_, _>>(),
            "holds": { "everything": self.ledger.standing.hold, "versions": self.ledger.standing.held },
            "ordered": self.orders,
            "leaving": self.leave,
            "revoked": self.revoked,
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
