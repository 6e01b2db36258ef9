//! The named states the updater rests in, each with what it has settled so far.

use std::collections::BTreeMap;

use countersign_metadata::{ActionId, Area, Sha256, Version};
use serde::{Deserialize, Serialize};

use crate::epochs::{self, Crossing, Others};
use crate::hold::Hold;
use crate::machine::Moment;
use crate::machine::facts::Current;

/// A release that policy approved: a claim on disk, proven again before it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Digest of its canonical tar: its identity.
    pub artifact: Sha256,
    /// Its version.
    pub version: Version,
    /// Its TUF target path.
    pub path: String,
    /// The schemas it reads and writes, by area.
    pub areas: BTreeMap<Area, u32>,
    /// Schemas that it reads as they are, beside those.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reads: Others,
    /// What it asks of operators before it may run, in words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub actions: BTreeMap<ActionId, String>,
    /// Whether the operator asked for it when it was announced: then it waits for no hold-off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// Whether it may run beside what runs: neither has exclusive state, and both listen on the same addresses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overlap: bool,
}

impl Candidate {
    /// What it writes and reads.
    pub fn schemas(&self) -> epochs::Version<'_> {
        epochs::Version { writes: &self.areas, reads: &self.reads }
    }

    /// Whether both are the same release, whoever asked for it.
    pub fn is_same_release(&self, other: &Self) -> bool {
        Self { asked: other.asked, ..self.clone() } == *other
    }
}

/// Where the updater rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum State {
    /// Nothing to do.
    Idle,
    /// A release is wanted.
    Announced {
        /// Which.
        candidate: Candidate,
        /// Whether its artifact was downloaded.
        fetched: bool,
    },
    /// It is unpacked in the store.
    Staged {
        /// Which.
        candidate: Candidate,
        /// Whether the state was copied for the shadow.
        copied: bool,
    },
    /// It behaved in the shadow.
    Shadowed {
        /// Which.
        candidate: Candidate,
        /// Digest of the shadow's report.
        report: Sha256,
    },
    /// It waits for its time.
    Held {
        /// Which.
        candidate: Candidate,
        /// Digest of the shadow's report.
        report: Sha256,
        /// Until when.
        hold: Hold,
    },
    /// The swap has begun; the old version still runs.
    Leased(Swap),
    /// The old version has stopped.
    Stopped(Swap),
    /// The snapshot is complete; areas are being migrated.
    Snapshotted(Swap),
    /// Every area has the new schema.
    Migrated(Swap),
    /// `current` names the new version.
    Switched(Swap),
    /// The new version runs and is watched.
    Probation {
        /// The swap.
        swap: Swap,
        /// Since when it is ready.
        since: Moment,
    },
    /// The new version runs for good.
    Committed {
        /// Which.
        candidate: Candidate,
        /// Its generation.
        generation: u64,
    },
    /// The old version runs again.
    RolledBack {
        /// What was tried.
        candidate: Candidate,
        /// Why it was given up.
        undo: Undo,
        /// The generation that runs now.
        generation: u64,
    },
}

/// A swap under way: what it has settled, in the order in which it settles it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// What is swapped in.
    pub candidate: Candidate,
    /// Digest of the shadow's report.
    pub report: Sha256,
    /// The generation that is left.
    pub from: u64,
    /// The live data directory.
    pub data: u64,
    /// The lease's fencing number.
    pub fence: u64,
    /// Whether most of the snapshot was copied while the old version ran.
    pub ahead: bool,
    /// The snapshot, once complete.
    pub snapshot: Option<u64>,
    /// Areas that must change their schema, in this order.
    pub areas: Vec<Step>,
    /// The generation of the new version, once `current` names it.
    pub to: Option<u64>,
    /// Whether one version is handed over to the other while both run. Nothing is stopped, copied or migrated then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overlap: bool,
    /// Set by [`Effect::Condemn`](crate::machine::Effect::Condemn): from then on everything leads back.
    pub undo: Option<Undo>,
}

impl Swap {
    /// Whether the schema of any area may have changed.
    pub fn touched(&self) -> bool {
        self.areas.iter().any(|step| step.progress != Progress::Untouched)
    }

    /// The next area to bring forward.
    pub fn next_forward(&self) -> Option<&Step> {
        self.areas.iter().find(|step| !step.lazy && step.progress != Progress::Forward)
    }

    /// Whether the old version comes back to data that it reads and does not write.
    pub fn left_open(&self) -> bool {
        self.areas.iter().any(|step| step.open && step.progress == Progress::Forward)
    }

    /// Whether the state fits what `current` names, `current` being where this swap left it: every area has come
    /// all the way forward or back, or the snapshot was restored.
    pub fn settled(&self) -> bool {
        match &self.undo {
            None => self.to.is_some(),
            Some(Undo { restored: Some(_), generation, .. }) => generation.is_some(),
            Some(_) => self.touched() && self.next_back().is_none(),
        }
    }

    /// The next area to bring back: last touched, first restored. One that came all the way forward and that the old version
    /// reads stays; one that is on its way does not.
    pub fn next_back(&self) -> Option<&Step> {
        self.areas.iter().rev().find(|step| match step.progress {
            Progress::Begun => true,
            Progress::Forward => !step.open,
            Progress::Untouched | Progress::Back => false,
        })
    }
}

/// One area's change of schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which area.
    pub area: Area,
    /// The old version's schema.
    pub from: u32,
    /// The new version's schema.
    pub to: u32,
    /// How far it came.
    pub progress: Progress,
    /// The new version reads what is there: nothing is run forward, and from the switch on it may have written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lazy: bool,
    /// The old version reads what the new one writes: nothing is run on the way back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

/// How far an area's migration came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Untouched.
    Untouched,
    /// Its forward migration was begun; nobody knows how far it came.
    Begun,
    /// It has the new schema.
    Forward,
    /// It was brought back.
    Back,
}

/// Why a swap goes back, and how far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The reason, to a person.
    pub reason: String,
    /// Whose fault it is.
    pub blame: Blame,
    /// Why the gentle way back was given up, if it was: the backward migrations, or handing over to the old version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
    /// The data directory into which the snapshot was restored, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<u64>,
    /// The data directory with the newer writes, kept aside after a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_aside: Option<u64>,
    /// The generation that `current` names again, once it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Set once the old version was started; holds what went wrong with that, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted: Option<Restarted>,
}

/// How the old version came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restarted {
    /// It is ready.
    Ready,
    /// It is not ready yet; the supervisor keeps trying.
    Troubled(String),
}

/// Whose fault a failure is: it decides whether the release is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The release's: it is known bad and never tried again.
    Release,
    /// The machine's or a mirror's: another try can help, and tries are counted.
    World,
}

impl State {
    /// Its name, as in the drawing of the states.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Announced { .. } => "Announced",
            Self::Staged { .. } => "Staged",
            Self::Shadowed { .. } => "Shadowed",
            Self::Held { .. } => "Held",
            Self::Leased(_) => "Leased",
            Self::Stopped(_) => "Stopped",
            Self::Snapshotted(_) => "Snapshotted",
            Self::Migrated(_) => "Migrated",
            Self::Switched(_) => "Switched",
            Self::Probation { .. } => "Probation",
            Self::Committed { .. } => "Committed",
            Self::RolledBack { .. } => "RolledBack",
        }
    }

    /// The release that this state is about.
    pub fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Idle => None,
            Self::Announced { candidate, .. }
            | Self::Staged { candidate, .. }
            | Self::Shadowed { candidate, .. }
            | Self::Held { candidate, .. }
            | Self::Committed { candidate, .. }
            | Self::RolledBack { candidate, .. } => Some(candidate),
            _ => self.swap().map(|swap| &swap.candidate),
        }
    }

    /// The swap under way, if one is.
    pub fn swap(&self) -> Option<&Swap> {
        match self {
            Self::Leased(swap)
            | Self::Stopped(swap)
            | Self::Snapshotted(swap)
            | Self::Migrated(swap)
            | Self::Switched(swap)
            | Self::Probation { swap, .. } => Some(swap),
            _ => None,
        }
    }

    /// The same state with its swap changed; other states stay as they are.
    #[must_use]
    pub fn with_swap(mut self, change: impl FnOnce(&mut Swap)) -> Self {
        match &mut self {
            Self::Leased(swap)
            | Self::Stopped(swap)
            | Self::Snapshotted(swap)
            | Self::Migrated(swap)
            | Self::Switched(swap)
            | Self::Probation { swap, .. } => change(swap),
            _ => {}
        }
        self
    }

    /// Whether a swap to this release is under way.
    pub fn is_about(&self, artifact: &Sha256) -> bool {
        self.swap().is_some_and(|swap| swap.candidate.artifact == *artifact)
    }

    /// Whether nothing is under way.
    pub fn is_rest(&self) -> bool {
        matches!(self, Self::Idle | Self::Committed { .. } | Self::RolledBack { .. })
    }
}

/// The areas that must be migrated in at least one direction, from what runs to what is wanted.
pub fn steps(current: &Current, new: &Candidate) -> Vec<Step> {
    let crossings = epochs::crossings(current.schemas(), &current.held, new.schemas());
    let step = |Crossing { area, from, to, lazy, open }| Step {
        area,
        from,
        to,
        progress: Progress::Untouched,
        lazy,
        open,
    };
    crossings.into_iter().map(step).collect()
}
