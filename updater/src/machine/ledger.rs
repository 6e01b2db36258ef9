//! What the journal amounts to: the state, what was under way, what is known bad, what was tried how often.

use std::collections::BTreeMap;

use countersign_metadata::{Sha256, Version};
use serde::Serialize;

use super::journal::{Kind, Record};
use super::state::{Blame, Progress, Step};
use super::{Candidate, Effect, Moment, Standing, State, Wanted};
use crate::hold::Hold;

/// The sum of a journal. Folding is total: every journal that can be read has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Where the updater rests.
    pub state: State,
    /// The effect that was begun last and neither done nor failed: a crash interrupted it.
    pub pending: Option<Effect>,
    /// Releases that are never tried again, by the digest of their canonical tar.
    pub bad: BTreeMap<Sha256, Bad>,
    /// Failed tries for which the release was not to blame.
    pub attempts: BTreeMap<Sha256, Attempts>,
    /// The hold-off of each release: one that comes again does not wait anew.
    pub holds: BTreeMap<Sha256, Hold>,
    /// What the operator ordered, as far as it stands.
    pub standing: Standing,
    /// The swap that was committed last, until it is gone back on.
    pub left: Option<Left>,
    /// The failure that the present state is stuck on, if the last step failed.
    pub trouble: Option<Trouble>,
}

/// A swap that was committed: what came in, and what was left for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// What came in.
    pub candidate: Candidate,
    /// Digest of its shadow's report.
    pub report: Sha256,
    /// The generation that was left.
    pub from: u64,
    /// The areas that crossed, as far as they came.
    pub areas: Vec<Step>,
}

impl Left {
    /// The areas that have to be migrated on the way back: the old version does not read what the new one writes.
    pub fn back(&self) -> impl Iterator<Item = &Step> {
        self.areas.iter().filter(|step| match step.progress {
            Progress::Begun => true,
            Progress::Forward => !step.open,
            Progress::Untouched | Progress::Back => false,
        })
    }
}

/// Why a release is known bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// Its version.
    pub version: Version,
    /// The reason, to a person.
    pub reason: String,
    /// Since when.
    pub at: Moment,
}

/// Failed tries of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempts {
    /// How many.
    pub count: u32,
    /// The last one.
    pub last: Moment,
    /// The step that failed in it.
    pub step: Effect,
    /// Why it failed.
    pub reason: String,
}

/// A step that failed and has to be tried again from the same state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The step.
    pub effect: Effect,
    /// How often in a row.
    pub count: u32,
    /// The last time.
    pub last: Moment,
    /// Why, to a person.
    pub reason: String,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            state: State::Idle,
            pending: None,
            bad: BTreeMap::new(),
            attempts: BTreeMap::new(),
            holds: BTreeMap::new(),
            standing: Standing::default(),
            left: None,
            trouble: None,
        }
    }
}

impl Ledger {
    /// The sum of these records.
    pub fn of(records: &[Record]) -> Self {
        let mut ledger = Self::default();
        for record in records {
            ledger.take(record);
        }
        ledger
    }

    /// Adds one record.
    pub fn take(&mut self, record: &Record) {
        match &record.kind {
            Kind::Intent => {
                self.pending = Some(record.effect);
                self.state = record.state.clone();
                return;
            }
            // An order changes nothing about what the state is stuck on.
            Kind::Done if record.effect == Effect::Order => {}
            Kind::Done => self.trouble = None,
            Kind::Failed { blame } => self.fail(record, *blame),
        }
        if let Some(order) = &record.order {
            self.standing.take(order, &record.at);
            if let Wanted::Forgive { artifact, .. } = &order.what {
                self.bad.remove(artifact);
                self.attempts.remove(artifact);
            }
        }
        if let (State::RolledBack { candidate, undo, .. }, Some(_)) =
            (&record.state, self.state.swap())
        {
            if self.left.as_ref().is_some_and(|left| left.candidate.artifact == candidate.artifact)
            {
                self.left = None;
            }
            self.count(
                candidate.artifact,
                &candidate.version,
                (record.effect, undo.blame),
                &undo.reason,
                &record.at,
            );
        }
        if let (State::Committed { candidate, .. }, Some(swap)) = (&record.state, self.state.swap())
        {
            self.attempts.remove(&candidate.artifact);
            self.holds.remove(&candidate.artifact);
            self.standing.accepted.remove(&candidate.artifact);
            let (candidate, report, from) = (candidate.clone(), swap.report, swap.from);
            let areas = swap.areas.clone();
            self.left = Some(Left { candidate, report, from, areas });
        }
        if let State::Held { candidate, hold, .. } = &record.state {
            self.holds.insert(candidate.artifact, hold.clone());
        }
        self.pending = None;
        self.state = record.state.clone();
    }

    /// A failure either ends a candidacy, which is counted against the release, or has to be tried again.
    fn fail(&mut self, record: &Record, blame: Blame) {
        let before = self.state.candidate().cloned();
        match before {
            Some(candidate) if !self.state.is_rest() && record.state == State::Idle => {
                self.trouble = None;
                let (artifact, version) = (candidate.artifact, candidate.version);
                self.count(artifact, &version, (record.effect, blame), &record.why, &record.at);
            }
            _ if record.state == self.state => {
                let again = self.trouble.take().filter(|t| t.effect == record.effect);
                self.trouble = Some(Trouble {
                    effect: record.effect,
                    count: again.map_or(0, |t| t.count) + 1,
                    last: record.at.clone(),
                    reason: record.why.clone(),
                });
            }
            _ => self.trouble = None,
        }
    }

    fn count(
        &mut self,
        artifact: Sha256,
        version: &Version,
        (step, blame): (Effect, Blame),
        reason: &str,
        at: &Moment,
    ) {
        let (reason, at) = (reason.to_owned(), at.clone());
        match blame {
            Blame::Release => {
                self.attempts.remove(&artifact);
                self.holds.remove(&artifact);
                self.bad.insert(artifact, Bad { version: version.clone(), reason, at });
            }
            Blame::World => {
                let count = self.attempts.get(&artifact).map_or(0, |a| a.count) + 1;
                self.attempts.insert(artifact, Attempts { count, last: at, step, reason });
            }
        }
    }
}
