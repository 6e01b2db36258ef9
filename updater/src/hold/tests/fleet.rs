//! Ten thousand simulated nodes through the real machine and real journals: whatever restarts, reboots and clocks do, none
//! swaps before its time, and together they spread over the window.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use super::*;
use crate::config::Mode;
use crate::machine::facts::{Current, Health, Node, Offer};
use crate::machine::{
    Candidate, Effect, Facts, Journal, Ledger, Outcome, Rules, Silent, State, Until, World, drive,
};

/// A node and its clocks, in milliseconds. Time itself is `elapsed`; only the test can read it.
struct Clocked {
    seed: Seed,
    terms: Terms,
    draws: u64,
    elapsed: u64,
    /// Wall clock minus time itself.
    skew: i64,
    boot: u64,
    booted: u64,
    /// When the hold-off was drawn and how long it is.
    drawn: Option<(u64, u64)>,
    leased: Option<u64>,
    misfortunes: bool,
}

impl Clocked {
    fn new(node: u64, terms: Terms, misfortunes: bool) -> Self {
        Self {
            seed: Seed::from_bytes(seed(node)),
            terms,
            draws: node << 32,
            elapsed: 0,
            skew: 0,
            boot: 1,
            booted: 0,
            drawn: None,
            leased: None,
            misfortunes,
        }
    }

    /// The next number below `below`, the same in every run.
    fn chance(&mut self, below: u64) -> u64 {
        self.draws += 1;
        let digest = Sha256::of(&self.draws.to_be_bytes());
        digest.as_bytes()[..8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b)) % below
    }

    fn moment(&self) -> Moment {
        let start = 1_800_000_000_000_i64;
        let wall = start + i64::try_from(self.elapsed).unwrap() + self.skew;
        let wall = jiff::Timestamp::from_millisecond(wall).unwrap();
        Moment::new(wall, &format!("boot {}", self.boot), self.elapsed - self.booted)
    }

    /// A few days, forward or back.
    fn jump(&mut self) -> i64 {
        i64::try_from(self.chance(10 * DAY)).unwrap() - 5 * i64::try_from(DAY).unwrap()
    }

    /// The machine is off for up to an hour. Its clock then is right, or stands where it should not yet be.
    fn reboot(&mut self) {
        self.elapsed += self.chance(HOUR);
        self.boot += 1;
        self.booted = self.elapsed - self.chance(60_000).min(self.elapsed - self.booted);
        self.skew = match self.chance(2) {
            0 => 0,
            _ => -i64::try_from(self.chance(30 * DAY)).unwrap(),
        };
    }
}

fn candidate() -> Candidate {
    Candidate {
        artifact: Sha256::of(b"release"),
        version: "2.0.0".parse().unwrap(),
        path: "p/2.0.0/p.tar.zst".into(),
        areas: BTreeMap::new(),
        reads: BTreeMap::new(),
        actions: BTreeMap::new(),
        asked: false,
        overlap: false,
    }
}

impl World for Clocked {
    type Error = Infallible;

    fn now(&mut self) -> Result<Moment, Infallible> {
        Ok(self.moment())
    }

    fn observe(&mut self, ledger: &Ledger) -> Result<Facts, Infallible> {
        let reason = "newer".to_owned();
        Ok(Facts {
            now: self.moment(),
            current: Current {
                generation: 1,
                version: "1.0.0".parse().unwrap(),
                artifact: Sha256::of(b"old"),
                data: 1,
                areas: BTreeMap::new(),
                reads: BTreeMap::new(),
                held: BTreeMap::new(),
            },
            offer: Offer::Release {
                candidate: candidate(),
                terms: Box::new(self.terms.clone()),
                reason,
            },
            node: Node::Up { generation: 1, crashes: 0 },
            barred: None,
            lease_taken: None,
            apply: None,
            orders: Vec::new(),
            leave: None,
            back: None,
            since: None,
            health: Health::Unasked,
            unready: Duration::ZERO,
            lacking: None,
            hold: ledger.holds.get(&candidate().artifact).cloned(),
        })
    }

    fn act(&mut self, effect: Effect, _state: &State, facts: &Facts) -> Outcome {
        match effect {
            Effect::Announce => Outcome::Candidate(candidate()),
            Effect::Shadow => Outcome::Report(Sha256::of(b"report")),
            Effect::DrawHold => {
                let (artifact, before) = (candidate().artifact, facts.hold.as_ref());
                let hold = Hold::settle(before, &self.seed, &artifact, &self.terms, &facts.now);
                self.drawn.get_or_insert((self.elapsed, hold.delay_ms));
                Outcome::Hold(hold)
            }
            Effect::Lease => {
                self.leased = Some(self.elapsed);
                Outcome::Fence(1)
            }
            _ => Outcome::Done,
        }
    }

    /// One misfortune at a time, each seen before the next. `false`: the process ends, and is started again.
    fn pause(&mut self, time: Duration) -> bool {
        if self.leased.is_some() || time.is_zero() {
            return self.leased.is_none();
        }
        self.elapsed += millis(time);
        match self.chance(12) {
            0 if self.misfortunes => self.skew += self.jump(),
            1 if self.misfortunes => {
                self.reboot();
                return false;
            }
            2 => return false,
            _ => {}
        }
        true
    }
}

fn rules() -> Rules {
    let (long, short) = (Duration::from_hours(1), Duration::from_secs(1));
    Rules {
        mode: Mode::Automatic,
        attempts: 3,
        pause: short,
        probation: short,
        crashes: 3,
        patience: short,
        ready: long,
    }
}

/// Lives, one process after the other, until the swap begins.
fn live(dir: &Path, world: &mut Clocked) {
    let journal = dir.join("journal.jsonl");
    let _from_the_node_before = std::fs::remove_file(&journal);
    while world.leased.is_none() {
        let (mut journal, records) = Journal::open(&journal).unwrap();
        let ledger = Ledger::of(&records);
        let poll = (Until::Stopped, Duration::from_mins(40));
        let ended = drive(&mut journal, ledger, world, &mut Silent, &rules(), poll);
        assert!(ended.is_ok());
        assert!(world.elapsed < 60 * DAY, "it waits for ever: {:?}", world.drawn);
    }
}

/// How long each node waited beyond its own delay; in memory where there is a disk of memory.
fn fleet(nodes: std::ops::Range<u64>, misfortunes: bool) -> Vec<(u64, u64)> {
    let memory = Path::new("/dev/shm");
    let dir = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap();
    let terms = terms(false, None, None);
    let waited = nodes.map(|node| {
        let mut world = Clocked::new(node, terms.clone(), misfortunes);
        live(dir.path(), &mut world);
        let (began, delay) = world.drawn.unwrap();
        let waited = world.leased.unwrap() - began;
        assert!(waited >= delay, "node {node} swaps {} ms before its time", delay - waited);
        (delay, waited)
    });
    waited.collect()
}

#[test]
fn ten_thousand_nodes_spread_over_the_window_each_at_its_own_time() {
    let waited = fleet(0..10_000, false);
    // Nobody is late by more than one look.
    assert!(waited.iter().all(|(delay, waited)| waited - delay <= 40 * 60_000));
    let mut hours = [0u32; 24];
    for (_, waited) in &waited {
        hours[usize::try_from((waited - HOUR) * 24 / DAY).unwrap().min(23)] += 1;
    }
    // 10,000 nodes over 23 hours: some 435 in each, give or take five deviations.
    assert!(hours[..23].iter().all(|n| (330..540).contains(n)), "{hours:?}");
}

#[test]
fn no_clock_that_is_set_and_no_reboot_lets_a_node_swap_before_its_time() {
    fleet(20_000..20_400, true);
}
