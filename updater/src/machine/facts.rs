//! What `drive` saw of the world, and the operator's rules: everything `plan` may know beside the ledger.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use countersign_metadata::{Area, Sha256, Version};
use serde::{Deserialize, Serialize};

use super::{Candidate, Left, Moment, Order};
use crate::config::Mode;
use crate::epochs::{self, Others};
use crate::hold::{Hold, Terms};

/// One look at the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When.
    pub now: Moment,
    /// What `current` names.
    pub current: Current,
    /// What the repository and the policy offer; asked only while nothing is stopped.
    pub offer: Offer,
    /// The node, as its supervisor sees it.
    pub node: Node,
    /// Why `current` may not be started, where its state may be between two schemas.
    pub barred: Option<String>,
    /// Who holds the lease, if somebody else does.
    pub lease_taken: Option<String>,
    /// The operator asks for it now.
    pub apply: Option<Apply>,
    /// What the operator ordered and the journal does not have yet, oldest first.
    pub orders: Vec<Order>,
    /// The operator wants what ran before, instead of this release.
    pub leave: Option<Leave>,
    /// What ran before, or why there is no way back to it; looked at only at rest, where the operator wants it.
    pub back: WayBack,
    /// Since when the node's process runs, on this machine's clocks.
    pub since: Option<Moment>,
    /// What the health probe said; asked only in probation.
    pub health: Health,
    /// For how long the node has not been ready, as far as this process saw; counted only in probation.
    pub unready: Duration,
    /// What this machine lacks, so that no failure of a release says anything about the release.
    pub lacking: Option<String>,
    /// The hold-off that the present candidate was given before, if it was announced before.
    pub hold: Option<Hold>,
}

/// What `current` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Generation number.
    pub generation: u64,
    /// Its version.
    pub version: Version,
    /// Its release, by the digest of the canonical tar.
    pub artifact: Sha256,
    /// Its data directory.
    pub data: u64,
    /// The schemas of that data.
    pub areas: BTreeMap<Area, u32>,
    /// Schemas that its version reads beside those.
    pub reads: Others,
    /// Schemas that the data may hold beside those.
    pub held: Others,
}

impl Current {
    /// What its version writes and reads.
    pub fn schemas(&self) -> epochs::Version<'_> {
        epochs::Version { writes: &self.areas, reads: &self.reads }
    }
}

/// What the repository and the policy offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The present state does not ask.
    Unasked,
    /// The repository cannot be reached or believed just now.
    Unknown {
        /// Why.
        reason: String,
    },
    /// Nothing that policy would take.
    Nothing {
        /// Why.
        reason: String,
    },
    /// A release that policy takes.
    Release {
        /// Which.
        candidate: Candidate,
        /// What its hold-off is drawn by.
        terms: Box<Terms>,
        /// Why.
        reason: String,
    },
}

/// The operator's `rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// The release to leave.
    pub artifact: Sha256,
    /// Its version.
    pub version: Version,
    /// Why, in the operator's words.
    pub reason: String,
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operator rolled it back")?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// What ran before, or why there is no way back to it; `None`: nobody looked.
pub type WayBack = Option<Result<Back, String>>;

/// What ran before, and can be gone back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// The swap by which it was left.
    pub left: Left,
    /// Its version.
    pub version: Version,
}

/// The node, as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// No supervisor answers.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// Stopped by us, sockets queueing, until we say so or our hold on it runs out.
    Held,
    /// It does not run, and not because of us.
    Down {
        /// Why.
        reason: String,
        /// Crashes of the generation that ran last.
        crashes: u32,
    },
    /// It was started and is not ready yet.
    Starting {
        /// Which generation.
        generation: u64,
        /// Crashes of this generation.
        crashes: u32,
    },
    /// It is ready.
    Up {
        /// Which generation.
        generation: u64,
        /// Crashes of this generation.
        crashes: u32,
    },
}

/// The operator's `apply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apply {
    /// Whatever is offered next.
    Next,
    /// This release and no other.
    Only(Sha256),
}

impl Apply {
    /// Whether it means this release.
    pub fn means(&self, artifact: &Sha256) -> bool {
        match self {
            Self::Next => true,
            Self::Only(only) => only == artifact,
        }
    }
}

/// What the health probe said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The present state does not ask.
    Unasked,
    /// Every check says so, or there is none.
    Good,
    /// No check is bad, and one is neither good nor bad yet.
    Pending {
        /// Which, and what it waits for.
        reason: String,
    },
    /// Something else.
    Bad {
        /// How long without a good answer in between.
        lasting: Duration,
        /// What came instead.
        reason: String,
    },
}

/// The operator's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who decides when a hold-off is over.
    pub mode: Mode,
    /// How often a release is tried when something else is to blame.
    pub attempts: u32,
    /// Pause after the first of those tries; it doubles.
    pub pause: Duration,
    /// How long a new version is watched.
    pub probation: Duration,
    /// This many crashes in probation end it.
    pub crashes: u32,
    /// Health may be bad for this long in probation.
    pub patience: Duration,
    /// The node may be without readiness for this long in probation.
    pub ready: Duration,
}
