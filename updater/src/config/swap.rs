//! `[swap]`: how a release is swapped in.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::written::{Source, absolute, or};
use super::{ConfigError, units};

/// How a release is swapped in.
#[derive(Clone, Debug)]
pub struct Swap {
    /// How many snapshots are kept; from 1.
    pub snapshots: u32,
    /// Older ones go, but for the newest; `None`: however old.
    pub snapshot_age: Option<Duration>,
    /// When the old version opens a copy of the snapshot.
    pub open: Open,
    /// Nodes that share this file swap one at a time; `None`: this node is alone.
    pub lease: Option<PathBuf>,
    /// How long the lease lasts when its holder does not renew it.
    pub lease_for: Duration,
}

/// When the old version opens a copy of what a roll-back would restore. One moment of its state it opens before it is
/// stopped, unless this says never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// The snapshot itself too, while it is stopped, if an area is migrated: only then it is ever restored.
    Migrating,
    /// The snapshot itself too, in every swap.
    Always,
    /// Not while it is stopped: the shortest stop.
    Ahead,
    /// Not at all: for a node that cannot be started in a sandbox.
    Never,
}

/// As written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WrittenSwap {
    snapshots: Option<Spanned<u32>>,
    snapshot_age: Option<Spanned<String>>,
    open: Option<Spanned<String>>,
    lease: Option<Spanned<String>>,
    lease_for: Option<Spanned<String>>,
}

/// With the defaults.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MergedSwap {
    snapshots: Spanned<u32>,
    snapshot_age: Spanned<String>,
    open: Spanned<String>,
    lease: Option<Spanned<String>>,
    lease_for: Spanned<String>,
}

impl WrittenSwap {
    pub(super) fn merge(self) -> MergedSwap {
        MergedSwap {
            snapshots: or(self.snapshots, 3u32),
            snapshot_age: or(self.snapshot_age, "90d"),
            open: or(self.open, "migrating"),
            lease: self.lease,
            lease_for: or(self.lease_for, "5m"),
        }
    }
}

impl MergedSwap {
    pub(super) fn validate(&self, source: &Source<'_>) -> Result<Swap, ConfigError> {
        let lease = self.lease.as_ref();
        Ok(Swap {
            snapshots: source.one_or_more("swap.snapshots", &self.snapshots)?,
            snapshot_age: source.read("swap.snapshot-age", &self.snapshot_age, age)?,
            open: source.read("swap.open", &self.open, open)?,
            lease: lease.map(|value| source.read("swap.lease", value, absolute)).transpose()?,
            lease_for: source.read("swap.lease-for", &self.lease_for, lease_time)?,
        })
    }
}

fn age(text: &str) -> Result<Option<Duration>, units::BadUnit> {
    if text == "never" { Ok(None) } else { units::duration(text).map(Some) }
}

fn open(text: &str) -> Result<Open, String> {
    match text {
        "migrating" => Ok(Open::Migrating),
        "always" => Ok(Open::Always),
        "ahead" => Ok(Open::Ahead),
        "never" => Ok(Open::Never),
        _ => Err(format!("{text:?} is none of migrating, always, ahead and never")),
    }
}

/// The keeper renews it every few seconds: a shorter one would be lost by whoever holds it.
fn lease_time(text: &str) -> Result<Duration, String> {
    let time = units::duration(text).map_err(|error| error.to_string())?;
    match time >= Duration::from_secs(1) {
        true => Ok(time),
        false => Err("a lease lasts a second or longer".to_owned()),
    }
}
