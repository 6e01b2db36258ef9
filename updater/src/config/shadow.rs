//! `[shadow]`: how a release is tried.

use std::time::Duration;

use countersign_sandbox::Lowerable;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::limits::{Limits, WrittenLimits};
use super::written::{Source, or};
use super::{ConfigError, units};
use crate::supervise::{BadShare, Share};

/// How a release is tried in the shadow.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// How long it is watched once it is ready and healthy.
    pub window: Duration,
    /// How long it may take to become ready.
    pub ready: Duration,
    /// `HOST:PORT` that it may try to reach, beside what the release declares.
    pub allow: Vec<String>,
    /// How long one migration of the copied state may take.
    pub migrate: Duration,
    /// Bytes of memory it may use; `None` where the operator lowered this protection (`memory = "none"`).
    pub memory: Option<u64>,
    /// Processes it may have.
    pub processes: u64,
    /// How many first bytes are kept of each attempt; 0: none, and connections are refused at once.
    pub first_bytes: usize,
    /// The share of live connections that is mirrored to it; `None`: nothing is.
    pub mirror: Option<Share>,
    /// What it writes to.
    pub state: ShadowState,
    /// Protections that it may go without, each by its name.
    pub lower: Vec<Lowerable>,
    /// Whether the version that runs is run beside it.
    pub compare: bool,
    /// How much more than that one it may take.
    pub limits: Limits,
}

/// What a shadow writes to. The snapshot of the live state stays as it is either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowState {
    /// An overlay above the snapshot, or a copy of it where this machine can make none.
    Overlay,
    /// A copy of it, always.
    Copy,
}

/// As written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WrittenShadow {
    r#for: Option<Spanned<String>>,
    ready: Option<Spanned<String>>,
    migrate: Option<Spanned<String>>,
    allow: Vec<Spanned<String>>,
    memory: Option<Spanned<String>>,
    processes: Option<Spanned<u64>>,
    state: Option<Spanned<String>>,
    lower: Vec<Spanned<String>>,
    first_bytes: Option<Spanned<String>>,
    compare: Option<Spanned<bool>>,
    limits: WrittenLimits,
    mirror: Option<Spanned<String>>,
}

/// With the defaults.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MergedShadow {
    r#for: Spanned<String>,
    ready: Spanned<String>,
    migrate: Spanned<String>,
    allow: Vec<Spanned<String>>,
    memory: Spanned<String>,
    processes: Spanned<u64>,
    state: Spanned<String>,
    lower: Vec<Spanned<String>>,
    first_bytes: Spanned<String>,
    compare: Spanned<bool>,
    limits: WrittenLimits,
    mirror: Spanned<String>,
}

impl WrittenShadow {
    pub(super) fn merge(self) -> MergedShadow {
        MergedShadow {
            r#for: or(self.r#for, "10s"),
            ready: or(self.ready, "60s"),
            migrate: or(self.migrate, "1h"),
            allow: self.allow,
            memory: or(self.memory, "2GiB"),
            processes: or(self.processes, 512u64),
            state: or(self.state, "overlay"),
            lower: self.lower,
            first_bytes: or(self.first_bytes, "0B"),
            compare: or(self.compare, true),
            limits: self.limits.merge(),
            mirror: or(self.mirror, "none"),
        }
    }
}

impl MergedShadow {
    pub(super) fn validate(&self, source: &Source<'_>) -> Result<Shadow, ConfigError> {
        let duration = |key, value| source.read(key, value, units::duration);
        let allow = self.allow.iter().map(|value| source.read("shadow.allow", value, target));
        Ok(Shadow {
            window: duration("shadow.for", &self.r#for)?,
            ready: duration("shadow.ready", &self.ready)?,
            migrate: duration("shadow.migrate", &self.migrate)?,
            allow: allow.collect::<Result<_, ConfigError>>()?,
            memory: source.read("shadow.memory", &self.memory, memory)?,
            processes: *self.processes.get_ref(),
            state: source.read("shadow.state", &self.state, state)?,
            lower: source.list("shadow.lower", &self.lower)?,
            first_bytes: source.read("shadow.first-bytes", &self.first_bytes, first_bytes)?,
            compare: *self.compare.get_ref(),
            limits: self.limits.validate(source)?,
            mirror: source.read("shadow.mirror", &self.mirror, share)?,
        })
    }
}

fn state(text: &str) -> Result<ShadowState, String> {
    match text {
        "overlay" => Ok(ShadowState::Overlay),
        "copy" => Ok(ShadowState::Copy),
        _ => Err(format!("{text:?} is neither overlay nor copy")),
    }
}

/// `none` is how an operator lowers this one protection, by name.
fn memory(text: &str) -> Result<Option<u64>, units::BadUnit> {
    if text == "none" { Ok(None) } else { units::size(text).map(Some) }
}

/// Nothing stands before a live node unless its operator says so.
fn share(text: &str) -> Result<Option<Share>, BadShare> {
    if text == "none" { Ok(None) } else { text.parse().map(Some) }
}

fn target(text: &str) -> Result<String, String> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let good = good || crate::shadow::is_other(text);
    if good { Ok(text.to_owned()) } else { Err(format!("{text:?} is not HOST:PORT")) }
}

/// A report is read by people, and holds 512 attempts.
fn first_bytes(text: &str) -> Result<usize, String> {
    let most = units::size(text).map_err(|error| error.to_string())?;
    match usize::try_from(most) {
        Ok(most @ 0..=4096) => Ok(most),
        _ => Err(format!("{text} is more than 4KiB")),
    }
}
