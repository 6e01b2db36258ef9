//! A simulated node under the machine: what every effect does to it, and the rules that it checks at every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign_metadata::{Rollout, Sha256};
use countersign_updater::config::Mode;
use countersign_updater::hold::{Hold, Reckoned, Terms};
use countersign_updater::machine::facts::{Apply, Back, Current, Health, Leave, Node, Offer};
use countersign_updater::machine::state::{Progress, Step, Undo};
use countersign_updater::machine::{
    Blame, Candidate, Effect, Facts, Ledger, Moment, Order, Outcome, Rules, State, Swap, Wanted,
    World,
};

/// The schema of a data directory; `Between` after a migration that did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Schema {
    Old,
    New,
    Between,
}

/// A simulated node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// Whether the new version changes the schema.
    pub(crate) migrates: bool,
    /// Whether the new version reads the old schema, and brings along what it finds when it runs.
    pub(crate) reads: bool,
    /// Whether the old version reads the new schema.
    pub(crate) open: bool,
    /// Whether both versions may run at once.
    pub(crate) overlap: bool,
    /// Generation number → (is the new version, data directory).
    pub(crate) generations: BTreeMap<u64, (bool, u64)>,
    pub(crate) current: u64,
    pub(crate) data: BTreeMap<u64, Schema>,
    pub(crate) node: Seen,
    pub(crate) marker: Option<u64>,
    /// Whether the snapshot holds the last writes before the migration.
    pub(crate) snapshot: Option<Schema>,
    /// Set when the old version ran after the snapshot was taken.
    pub(crate) snapshot_is_old: bool,
    pub(crate) crashes: u32,
    pub(crate) healthy: bool,
    pub(crate) leased: bool,
    /// The data directory that was live when the lease was taken.
    pub(crate) began: u64,
    /// Effects that fail, how often and by whose fault.
    pub(crate) fail: BTreeMap<Effect, (u32, bool)>,
    /// The offer is gone.
    pub(crate) withdrawn: bool,
    /// Ask the process to end.
    pub(crate) told: bool,
    /// The operator's request, until the journal has it.
    pub(crate) applies: bool,
    /// The disk is full.
    pub(crate) full: bool,
    /// How many hold-offs were drawn.
    pub(crate) draws: u64,
    /// What the operator ordered.
    pub(crate) orders: Vec<Order>,
    /// The operator wants the old version back, once the new one was committed.
    pub(crate) leaves: bool,
    /// The new version asks for something to be done first.
    pub(crate) asks: bool,
}

/// The simulated process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    Held,
    Down,
    /// Started, and never ready.
    Hung(u64),
    Up(u64),
}

pub(crate) fn moment(seconds: u64) -> Moment {
    let wall = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
    Moment::new(wall, "b", seconds * 1000)
}

pub(crate) fn rules() -> Rules {
    Rules {
        mode: Mode::Automatic,
        attempts: 3,
        pause: Duration::ZERO,
        probation: Duration::ZERO,
        crashes: 3,
        patience: Duration::ZERO,
        ready: Duration::from_secs(60),
    }
}

/// What keyholders and operator leave to the draw.
pub(crate) fn terms() -> Terms {
    Terms::new("0s..1h".parse().unwrap(), None, false, &Rollout::default())
}

/// Named by its number.
pub(crate) fn order(id: u32, what: Wanted) -> Order {
    Order { id: id.to_string(), what }
}

pub(crate) fn candidate(migrates: bool) -> Candidate {
    Candidate {
        artifact: Sha256::of(b"new"),
        version: "2.0.0".parse().unwrap(),
        path: "p/2.0.0/p.tar.zst".into(),
        areas: areas(if migrates { 2 } else { 1 }),
        reads: BTreeMap::new(),
        actions: BTreeMap::new(),
        asked: false,
        overlap: false,
    }
}

fn areas(schema: u32) -> BTreeMap<countersign_metadata::Area, u32> {
    BTreeMap::from([("keys".parse().unwrap(), schema), ("values".parse().unwrap(), schema)])
}

impl Model {
    pub(crate) fn new(migrates: bool) -> Self {
        Self {
            migrates,
            reads: false,
            open: false,
            overlap: false,
            generations: BTreeMap::from([(1, (false, 1))]),
            current: 1,
            data: BTreeMap::from([(1, Schema::Old)]),
            node: Seen::Up(1),
            marker: None,
            snapshot: None,
            snapshot_is_old: false,
            crashes: 0,
            healthy: true,
            leased: false,
            began: 1,
            fail: BTreeMap::new(),
            withdrawn: false,
            told: false,
            applies: false,
            full: false,
            draws: 0,
            orders: Vec::new(),
            leaves: false,
            asks: false,
        }
    }

    fn candidate(&self) -> Candidate {
        let ask = ("open-port".parse().unwrap(), "Open UDP port 5151".to_owned());
        let actions = self.asks.then_some(ask).into_iter().collect();
        let (reads, overlap) = (self.others(true), self.overlap);
        Candidate { reads, actions, overlap, ..candidate(self.migrates) }
    }

    /// Both versions may run at once, and no schema changes.
    pub(crate) fn overlapping() -> Self {
        Self { overlap: true, ..Self::new(false) }
    }

    pub(crate) fn runs_new(&self) -> bool {
        self.generations[&self.current].0
    }

    fn fits(&self, generation: u64) -> bool {
        let (new, data) = self.generations[&generation];
        let own = if new && self.migrates { Schema::New } else { Schema::Old };
        match self.data[&data] {
            Schema::Between => false,
            there => there == own || if new { self.reads } else { self.open },
        }
    }

    fn others(&self, new: bool) -> BTreeMap<countersign_metadata::Area, BTreeSet<u32>> {
        let (reads, schema) = if new { (self.reads, 1) } else { (self.open, 2) };
        let areas = areas(schema).into_iter().filter(|_| reads);
        areas.map(|(area, schema)| (area, BTreeSet::from([schema]))).collect()
    }

    /// What the supervisor does by itself, unless the state is barred.
    pub(crate) fn start(&mut self) {
        if self.marker == Some(self.current) {
            self.node = Seen::Down;
            return;
        }
        assert!(self.fits(self.current), "started on foreign data: {self:?}");
        if !self.runs_new() {
            self.snapshot_is_old = true;
        } else if self.reads && self.migrates {
            self.live(Schema::New);
        }
        self.node = Seen::Up(self.current);
        self.crashes = 0;
    }

    /// The agent is away for so long that its hold runs out.
    pub(crate) fn hold_runs_out(&mut self) {
        if self.node == Seen::Held {
            self.start();
        }
    }

    pub(crate) fn facts(&self, ledger: &Ledger) -> Facts {
        let (new, data) = self.generations[&self.current];
        let swap = ledger.state.swap();
        let offer = if swap.is_some() {
            Offer::Unasked
        } else if new || self.withdrawn || ledger.bad.contains_key(&candidate(true).artifact) {
            Offer::Nothing { reason: "nothing newer".into() }
        } else {
            let (candidate, terms) = (self.candidate(), Box::new(terms()));
            Offer::Release { candidate, terms, reason: "newer".into() }
        };
        let leaves = self.leaves
            && new
            && ledger.state.is_rest()
            && !ledger.bad.contains_key(&candidate(true).artifact);
        let leave = leaves.then(|| Leave {
            artifact: candidate(true).artifact,
            version: "2.0.0".parse().unwrap(),
            reason: "it is slow".into(),
        });
        let back = leave.as_ref().map(|_| match &ledger.left {
            None => Err("nobody knows".to_owned()),
            Some(left) => Ok(Back { left: left.clone(), version: "1.0.0".parse().unwrap() }),
        });
        Facts {
            // Long after everything that was recorded: no wait lasts.
            now: moment(1_000_000),
            current: Current {
                generation: self.current,
                version: if new { "2.0.0" } else { "1.0.0" }.parse().unwrap(),
                artifact: if new { Sha256::of(b"new") } else { Sha256::of(b"old") },
                data,
                areas: areas(if new && self.migrates { 2 } else { 1 }),
                reads: self.others(new),
                held: BTreeMap::new(),
            },
            offer,
            node: match self.node {
                Seen::Held => Node::Held,
                Seen::Down => Node::Down { reason: "barred".into(), crashes: self.crashes },
                Seen::Hung(generation) => Node::Starting { generation, crashes: self.crashes },
                Seen::Up(generation) => Node::Up { generation, crashes: self.crashes },
            },
            barred: (self.marker == Some(self.current)).then(|| "between two schemas".into()),
            lease_taken: None,
            apply: (self.applies && !ledger.state.candidate().is_some_and(|c| c.asked))
                .then_some(Apply::Next),
            orders: self
                .orders
                .iter()
                .filter(|order| !ledger.standing.heard.contains(&order.id))
                .cloned()
                .collect(),
            leave,
            back,
            since: None,
            unready: match self.node {
                Seen::Up(_) => Duration::ZERO,
                _ => Duration::from_secs(61),
            },
            lacking: self.full.then(|| "the disk is full".into()),
            hold: ledger
                .state
                .candidate()
                .and_then(|candidate| ledger.holds.get(&candidate.artifact))
                .cloned(),
            health: match (&ledger.state, self.healthy) {
                (State::Probation { .. }, false) if self.runs_new() => {
                    Health::Bad { lasting: Duration::from_secs(9), reason: "503".into() }
                }
                (State::Probation { .. }, _) => Health::Good,
                _ => Health::Unasked,
            },
        }
    }

    /// Does what the effect does, or, if it is to fail, half of it.
    pub(crate) fn perform(&mut self, effect: Effect, state: &State, facts: &Facts) -> Outcome {
        let fails = match self.fail.get_mut(&effect) {
            Some((left @ 1.., by_release)) => {
                *left -= 1;
                Some(if *by_release { Blame::Release } else { Blame::World })
            }
            _ => None,
        };
        let swap = state.swap();
        let undo = swap.and_then(|swap| swap.undo.as_ref());
        if let Some(blame) = fails {
            let touches = swap.is_some_and(|s| s.next_forward().is_some());
            if effect == Effect::MigrateBack || (effect == Effect::Migrate && touches) {
                self.marker = Some(self.current);
                self.live(Schema::Between);
            }
            if effect == Effect::Start && blame == Blame::Release {
                // It is started all the same, and is not ready.
                self.lift_bar(state);
                self.start();
            }
            return Outcome::Failed { blame, reason: format!("{effect} fails") };
        }
        match effect {
            Effect::Announce => {
                let asked = facts.apply.is_some();
                self.applies &= !asked;
                return Outcome::Candidate(Candidate { asked, ..self.candidate() });
            }
            Effect::Fetch | Effect::Stage | Effect::CopyState | Effect::Withdraw => {}
            Effect::Shadow => return Outcome::Report(Sha256::of(b"report")),
            Effect::DrawHold => {
                if let Some(hold) = &facts.hold {
                    return Outcome::Hold(hold.clone());
                }
                self.draws += 1;
                let (at, latest) = (moment(0), moment(0).wall);
                return Outcome::Hold(Hold {
                    delay_ms: self.draws,
                    not_before: moment(5),
                    rollout: Rollout::default(),
                    keyholders: None,
                    reckoned: Some(Reckoned { at, latest }),
                });
            }
            Effect::Order => return Outcome::Ordered(facts.orders[0].clone()),
            Effect::Lease | Effect::Recall => {
                self.leased = true;
                self.began = self.generations[&self.current].1;
                return Outcome::Fence(7);
            }
            Effect::CopyAhead | Effect::Condemn => {}
            Effect::Stop => {
                let last_resort = undo.is_some_and(|undo| undo.stuck.is_some());
                assert!(!self.overlap || last_resort, "nobody serves, and somebody could");
                self.node = Seen::Held;
            }
            Effect::Snapshot => {
                assert_eq!(self.node, Seen::Held, "a snapshot of a moving state");
                assert_ne!(self.marker, Some(self.current), "a snapshot between two schemas");
                self.snapshot = Some(self.data[&self.generations[&self.current].1]);
                self.snapshot_is_old = false;
                return Outcome::Snapshot(self.current);
            }
            Effect::Migrate => return self.migrate(state),
            Effect::Switch => {
                let saved = !self.snapshot_is_old || self.runs_new();
                assert!(saved || self.overlap, "switched past unsaved writes");
                return Outcome::Generation(self.point_to(true, swap.unwrap().data));
            }
            Effect::Start => {
                self.lift_bar(state);
                self.start();
                return Outcome::Ready(moment(0));
            }
            Effect::HandOver => {
                assert!(self.overlap && !self.migrates, "two versions at once on one state");
                assert_ne!(self.node, Seen::Held, "there is nobody to hand over from");
                self.lift_bar(state);
                self.start();
                return Outcome::Ready(moment(0));
            }
            Effect::MigrateBack => {
                assert_eq!(self.node, Seen::Held, "migrated back under a running node");
                self.marker = Some(self.current);
                let step = swap.and_then(|swap| swap.next_back()).cloned();
                let touched = [Progress::Begun, Progress::Forward];
                let left = swap.unwrap().areas.iter().filter(|s| touched.contains(&s.progress));
                let other = |s: &&Step| step.as_ref().is_none_or(|step| step.area != s.area);
                let stays = |s: &Step| s.open && s.progress == Progress::Forward;
                let left: Vec<_> = left.filter(other).collect();
                self.live(match left.iter().all(|s| stays(s)) {
                    true if left.is_empty() => Schema::Old,
                    // Each area of its own schema, and the old version reads them all.
                    true => Schema::New,
                    false => Schema::Between,
                });
                return Outcome::Area(step.map(|step| step.area));
            }
            Effect::Restore => {
                assert_eq!(self.snapshot, Some(Schema::Old), "nothing to restore");
                assert!(!self.snapshot_is_old, "restored over writes that it lacks");
                let next = self.data.keys().max().unwrap() + 1;
                self.data.insert(next, Schema::Old);
                return Outcome::Restored(next);
            }
            Effect::SwitchBack => {
                let data = undo.and_then(|undo| undo.restored).unwrap_or(swap.unwrap().data);
                return Outcome::Generation(self.point_to(false, data));
            }
            Effect::Conclude => self.leased = false,
        }
        Outcome::Done
    }

    fn lift_bar(&mut self, state: &State) {
        let settled = state.swap().is_some_and(Swap::settled);
        assert!(self.marker != Some(self.current) || settled, "a bar was lifted: {self:?}");
        self.marker = None;
    }

    fn migrate(&mut self, state: &State) -> Outcome {
        let Some(step) = state.swap().and_then(|swap| swap.next_forward()).cloned() else {
            return Outcome::Area(None);
        };
        assert_eq!(self.node, Seen::Held, "migrated under a running node");
        assert!(self.snapshot.is_some() && !self.snapshot_is_old, "migrated without a way back");
        assert_eq!(step.progress, Progress::Begun, "an area is marked before it is touched");
        self.marker = Some(self.current);
        let left = state.swap().unwrap().areas.iter().filter(|s| s.progress != Progress::Forward);
        self.live(if left.count() == 1 { Schema::New } else { Schema::Between });
        Outcome::Area(Some(step.area))
    }

    fn live(&mut self, schema: Schema) {
        let data = self.generations[&self.current].1;
        self.data.insert(data, schema);
    }

    fn point_to(&mut self, new: bool, data: u64) -> u64 {
        if self.generations[&self.current] != (new, data) {
            let next = self.generations.keys().max().unwrap() + 1;
            self.generations.insert(next, (new, data));
            self.current = next;
        }
        self.current
    }

    /// What must hold whenever the machine rests after a swap.
    pub(crate) fn check_rest(&self, state: &State) {
        let up = self.node == Seen::Up(self.current);
        assert!(up && self.fits(self.current), "{state:?} rests with {self:?}");
        assert!(self.data.contains_key(&1), "a data directory is gone");
        match state {
            State::Committed { .. } => assert!(self.runs_new() && !self.leased),
            State::RolledBack { undo: Undo { restored, kept_aside, .. }, .. } => {
                assert!(!self.runs_new() && !self.leased);
                let data = self.generations[&self.current].1;
                match restored {
                    None => assert_eq!(data, self.began, "writes were left behind"),
                    Some(restored) => {
                        assert_eq!(
                            (data, *kept_aside),
                            (*restored, Some(self.began)),
                            "nobody was told"
                        );
                    }
                }
            }
            _ => assert!(!self.runs_new()),
        }
    }
}

impl World for Model {
    type Error = std::convert::Infallible;

    fn now(&mut self) -> Result<Moment, Self::Error> {
        Ok(moment(0))
    }

    fn observe(&mut self, ledger: &Ledger) -> Result<Facts, Self::Error> {
        Ok(self.facts(ledger))
    }

    fn act(&mut self, effect: Effect, state: &State, facts: &Facts) -> Outcome {
        self.perform(effect, state, facts)
    }

    fn pause(&mut self, _time: Duration) -> bool {
        !self.told
    }
}
