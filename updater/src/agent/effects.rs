//! Acting: each effect on the real world, idempotent, and what came of it.

use std::path::Path;
use std::time::{Duration, Instant};

use countersign_metadata::Sha256;

use super::keeper::{HOLD, Keeper};
use super::proof::{Failed, Proof, world};
use super::{Real, apply, clock};
use crate::config::Open;
use crate::generation::Generation;
use crate::hold::Hold;
use crate::machine::facts::Offer;
use crate::machine::state::{Step, Swap};
use crate::machine::{Blame, Candidate, Effect, Facts, Outcome, State};
use crate::state::{Secrets, migrate, opening, shadow_copy, snapshot};
use crate::supervise::{ClientError, Phase, Reply, Request};
use crate::swap::{self, Lease, marker};
use crate::{fetch, shadow, shelf, stage};

/// A node that does not end is waited for this long; its supervisor's own limit comes before.
const LONGEST_STOP: Duration = Duration::from_hours(1);

type Acted = Result<Outcome, Failed>;

impl Real {
    pub(super) fn perform(&mut self, effect: Effect, state: &State, facts: &Facts) -> Outcome {
        let acted = match (state.swap().cloned(), state.candidate().cloned()) {
            (Some(swap), _) => self.on_swap(effect, &swap, facts),
            (None, candidate) => self.on_candidate(effect, state, candidate.as_ref(), facts),
        };
        let (blame, reason) = match acted {
            Ok(outcome) => return outcome,
            Err(failed) => failed,
        };
        let runs_the_release = matches!(
            effect,
            Effect::Shadow
                | Effect::Migrate
                | Effect::MigrateBack
                | Effect::Start
                | Effect::HandOver
        );
        match self.lacking().filter(|_| runs_the_release && blame == Blame::Release) {
            Some(lacking) => Outcome::Failed {
                blame: Blame::World,
                reason: format!("{reason}; not held against it: {lacking}"),
            },
            None => Outcome::Failed { blame, reason },
        }
    }

    fn on_candidate(
        &mut self,
        effect: Effect,
        state: &State,
        candidate: Option<&Candidate>,
        facts: &Facts,
    ) -> Acted {
        let artifact = candidate.map(|candidate| candidate.artifact);
        let settled = || artifact.ok_or_else(|| misplaced(effect));
        match effect {
            Effect::Announce => match &facts.offer {
                Offer::Release { candidate, .. } => {
                    let asked = facts.apply.as_ref();
                    let asked = asked.is_some_and(|apply| apply.means(&candidate.artifact));
                    Ok(Outcome::Candidate(Candidate { asked, ..candidate.clone() }))
                }
                _ => Err(misplaced(effect)),
            },
            Effect::Fetch => self.fetch(&settled()?),
            Effect::Stage => self.stage(&settled()?),
            Effect::CopyState => self.copy_state(&settled()?),
            Effect::Shadow => self.shadow(&settled()?),
            Effect::DrawHold => {
                let Offer::Release { terms, .. } = &facts.offer else {
                    return Err(misplaced(effect));
                };
                let (seed, now) = (self.home.seed().map_err(|error| world(&error))?, &facts.now);
                let artifact = settled()?;
                let hold = Hold::settle(facts.hold.as_ref(), &seed, &artifact, terms, now);
                Ok(Outcome::Hold(hold))
            }
            Effect::Order => {
                let order = facts.orders.first().ok_or_else(|| misplaced(effect))?;
                Ok(Outcome::Ordered(order.clone()))
            }
            Effect::Recall => self.recall(facts),
            Effect::Lease => match state {
                State::Held { candidate, report, .. } => self.take_lease(candidate, report),
                _ => Err(misplaced(effect)),
            },
            Effect::Withdraw => {
                self.proof = Proof::default();
                Ok(Outcome::Done)
            }
            _ => Err(misplaced(effect)),
        }
    }

    fn on_swap(&mut self, effect: Effect, swap: &Swap, facts: &Facts) -> Acted {
        let spare = self.config.free_space;
        match effect {
            Effect::CopyAhead => {
                if self.config.swap.open != Open::Never {
                    let current = self.current()?;
                    opening::rehearse(&self.home, &self.config, &current, &self.supervisor)
                        .map_err(|error| world(&error))?;
                }
                let copier = snapshot::ahead(&self.home, swap.from, swap.data, spare);
                self.copier = Some(copier.map_err(|error| world(&error))?);
                Ok(Outcome::Done)
            }
            Effect::Stop => self.stop(swap),
            Effect::Snapshot => self.snapshot(swap, facts),
            Effect::Migrate => self.migrate(swap),
            Effect::Switch => self.switch(swap),
            Effect::Start => self.start(swap, facts, |ready_ms| Request::Start { ready_ms }),
            Effect::HandOver => self.start(swap, facts, |ready_ms| Request::HandOver { ready_ms }),
            Effect::Condemn => Ok(Outcome::Done),
            Effect::MigrateBack => self.migrate_back(swap, facts),
            Effect::Restore => snapshot::restore(&self.home, swap.from, spare)
                .map(Outcome::Restored)
                .map_err(|error| world(&error)),
            Effect::SwitchBack => {
                let old = Generation::read(&self.home, swap.from).map_err(|error| world(&error))?;
                let restored = swap.undo.as_ref().and_then(|undo| undo.restored);
                // What was restored is as the old version left it.
                let new = restored.is_none().then(|| swap.candidate.schemas());
                let wanted = swap::back(&old, restored.unwrap_or(swap.data), new);
                swap::switch(&self.home, &wanted)
                    .map(Outcome::Generation)
                    .map_err(|error| world(&error))
            }
            Effect::Conclude => self.conclude(swap),
            _ => Err(misplaced(effect)),
        }
    }

    fn fetch(&mut self, artifact: &Sha256) -> Acted {
        let approved = self.approved(artifact)?;
        let tally = std::sync::Arc::clone(&self.tally);
        // What an earlier life left is not downloaded again; it is told too.
        let mut left = fetch::begun(&self.home, &approved);
        let fetched = fetch::fetch(&self.home, &self.config, approved, &mut |bytes| {
            let old = left.min(bytes);
            left -= old;
            tally.received(bytes - old);
        })
        .map_err(|error| world(&error))?;
        self.proof = Proof { fetched: Some(fetched), ..Proof::default() };
        Ok(Outcome::Done)
    }

    pub(super) fn stage(&mut self, artifact: &Sha256) -> Acted {
        let same = |f: &fetch::Fetched| f.target().release().artifact.sha256 == *artifact;
        if !self.proof.fetched.as_ref().is_some_and(same) {
            // Fetched by an earlier process: what is on the disk is found and hashed again.
            self.fetch(artifact)?;
        }
        let fetched = self.proof.fetched.take().ok_or_else(|| misplaced(Effect::Stage))?;
        // For others only: this node can do without.
        let _not_kept = shelf::keep(&self.home, &self.config, &fetched);
        let staged = stage::stage(&self.home, fetched).map_err(|error| {
            // What was signed cannot be unpacked: no mirror can make that good.
            let blame = if error.is_untrusted() { Blame::Release } else { Blame::World };
            (blame, world(&error).1)
        })?;
        self.proof.staged = Some(staged);
        Ok(Outcome::Done)
    }

    pub(super) fn current(&self) -> Result<Generation, Failed> {
        let current = Generation::current(&self.home).map_err(|error| world(&error))?;
        current.ok_or_else(|| (Blame::World, "nothing is installed".to_owned()))
    }

    fn copy_state(&mut self, artifact: &Sha256) -> Acted {
        let (spare, limit) = (self.config.free_space, self.config.shadow.migrate);
        let current = self.current()?;
        let node = self.staged(artifact)?.release().node.iter();
        let new: Vec<_> =
            node.flat_map(|n| n.areas.values()).flat_map(|a| a.paths.clone()).collect();
        let secrets = Secrets::of(&current).and(new);
        shadow_copy::make(&self.home, &current, &self.supervisor, &secrets, spare, limit)
            .map_err(|error| world(&error))?;
        self.proof.copied = true;
        Ok(Outcome::Done)
    }

    fn shadow(&mut self, artifact: &Sha256) -> Acted {
        if !std::mem::take(&mut self.proof.copied) {
            // A copy by an earlier process may be half of one, or already used.
            self.copy_state(artifact)?;
            self.proof.copied = false;
        }
        let current = self.current()?;
        let place = shadow_copy::place(&self.home);
        let (home, config) = (self.home.clone(), self.config.clone());
        let staged = self.staged(artifact)?;
        let report = shadow::run(&home, &config, staged, &place, Some(&current))
            .map_err(|error| world(&error))?;
        shadow_copy::discard(&self.home).map_err(|error| world(&error))?;
        match report.clear() {
            Ok(cleared) => {
                let report = *cleared.report();
                self.proof.cleared = Some(cleared);
                Ok(Outcome::Report(report))
            }
            Err(refused) => Err((Blame::Release, refusal(refused.report()))),
        }
    }

    /// Where nodes of this host agree on who swaps.
    pub(super) fn lease(&self) -> Lease {
        let own = self.home.run().join("lease.json");
        let path = self.config.swap.lease.as_ref().unwrap_or(&own);
        Lease::new(path, &self.home.text(self.home.path()), self.config.swap.lease_for)
    }

    pub(super) fn keep(&mut self, fence: u64) {
        if self.keeper.is_none() {
            self.keeper = Some(Keeper::new(
                self.supervisor.clone(),
                self.lease(),
                fence,
                self.config.swap.lease_for,
            ));
        }
    }

    fn take_lease(&mut self, candidate: &Candidate, report: &Sha256) -> Acted {
        self.staged_afresh(&candidate.artifact)?;
        self.proven(&candidate.artifact, report)?;
        self.way_back()?;
        let now = clock::now().map_err(|error| world(&error))?;
        let fence = self.lease().take(&now).map_err(|error| world(&error))?;
        apply::withdraw_apply(&self.home).map_err(|error| world(&error))?;
        self.keep(fence);
        Ok(Outcome::Fence(fence))
    }

    /// The way back from what was committed: what ran before is hashed, and the lease is taken as for any swap.
    fn recall(&mut self, facts: &Facts) -> Acted {
        let Some(Ok(back)) = &facts.back else { return Err(misplaced(Effect::Recall)) };
        let old = Generation::read(&self.home, back.left.from).map_err(|error| world(&error))?;
        if stage::reopen(&self.home, &old.binary).map_err(|error| world(&error))?.is_none() {
            let reason = format!("version {} is not in the store any more", old.version);
            return Err((Blame::World, reason));
        }
        if let Some(lacking) = self.lacking() {
            return Err((Blame::World, lacking));
        }
        let now = clock::now().map_err(|error| world(&error))?;
        let fence = self.lease().take(&now).map_err(|error| world(&error))?;
        self.keep(fence);
        Ok(Outcome::Fence(fence))
    }

    /// Before anything is stopped or written for a swap: the lease is still ours.
    fn still_leased(&mut self, swap: &Swap) -> Result<(), Failed> {
        let now = clock::now().map_err(|error| world(&error))?;
        self.lease().renew(swap.fence, &now).map_err(|error| world(&error))?;
        self.keep(swap.fence);
        Ok(())
    }

    fn stop(&mut self, swap: &Swap) -> Acted {
        if swap.undo.is_none() {
            self.still_leased(swap)?;
            if let Some(lacking) = self.lacking() {
                return Err((Blame::World, lacking));
            }
        }
        let hold_ms = u64::try_from(HOLD.as_millis()).unwrap_or(u64::MAX);
        let began = Instant::now();
        while began.elapsed() < LONGEST_STOP {
            match self.supervisor.ask(Request::Stop { hold_ms }).map_err(|error| world(&error))? {
                Reply::Stopped => {
                    self.keep(swap.fence);
                    return Ok(Outcome::Done);
                }
                // TERM was sent; the supervisor sends KILL when the operator's limit has passed.
                Reply::Stopping { .. } => {}
                _ => return Err((Blame::World, "the supervisor did not stop the node".to_owned())),
            }
        }
        Err((Blame::World, format!("the node did not end within {LONGEST_STOP:?} of TERM")))
    }

    fn snapshot(&mut self, swap: &Swap, facts: &Facts) -> Acted {
        self.still_leased(swap)?;
        let barred = marker::bars(&self.home, facts.current.generation);
        if barred.map_err(|error| world(&error))? {
            return Err((Blame::World, "the state is between two schemas".to_owned()));
        }
        let ahead = self.copier.take();
        let (home, config, current) = (self.home.clone(), self.config.clone(), self.current()?);
        let mut open = |tree: &Path| opening::snapshot(&home, &config, &current, tree);
        let wanted = match config.swap.open {
            Open::Migrating => !swap.areas.is_empty(),
            Open::Always => true,
            Open::Ahead | Open::Never => false,
        };
        let open: Option<snapshot::Open<'_>> = if wanted { Some(&mut open) } else { None };
        snapshot::complete(&home, swap.from, swap.data, config.free_space, ahead, open)
            .map_err(|error| world(&error))?;
        Ok(Outcome::Snapshot(swap.from))
    }

    /// The candidate's commands on the live data.
    fn commands(&mut self, swap: &Swap) -> Result<Generation, Failed> {
        let config = self.config.clone();
        let staged = self.staged(&swap.candidate.artifact)?;
        swap::described(&config, staged, swap.data).ok_or_else(no_node)
    }

    fn migrate(&mut self, swap: &Swap) -> Acted {
        self.still_leased(swap)?;
        self.proven(&swap.candidate.artifact, &swap.report)?;
        let Some(Step { area, from, to, .. }) = swap.next_forward().cloned() else {
            return Ok(Outcome::Area(None));
        };
        let release = self.commands(swap)?;
        let version = &swap.candidate.version;
        marker::set(&self.home, swap.from, version).map_err(|error| world(&error))?;
        self.run_migration(&release, swap.data, &area, (from, to))?;
        Ok(Outcome::Area(Some(area)))
    }

    fn run_migration(
        &self,
        release: &Generation,
        data: u64,
        area: &countersign_metadata::Area,
        schemas: (u32, u32),
    ) -> Result<(), Failed> {
        let (data, limit) = (self.home.state(data), self.config.shadow.migrate);
        migrate::run(&self.home, release, &data, area, schemas, limit).map_err(|error| {
            let blame = if error.blames_release() { Blame::Release } else { Blame::World };
            (blame, world(&error).1)
        })
    }

    fn switch(&mut self, swap: &Swap) -> Acted {
        let artifact = swap.candidate.artifact;
        // Renamed before a crash, by a process that held the proofs: it is recorded now.
        if let Some(number) = swap::already(&self.home, &artifact).map_err(|error| world(&error))? {
            return Ok(Outcome::Generation(number));
        }
        self.still_leased(swap)?;
        if let Some(lacking) = self.lacking().filter(|_| swap.overlap) {
            return Err((Blame::World, lacking));
        }
        let config = self.config.clone();
        let old = Generation::read(&self.home, swap.from).map_err(|error| world(&error))?;
        let (staged, cleared) = self.proven(&artifact, &swap.report)?;
        let next = swap::forward(&config, staged, cleared, &old, swap.data).ok_or_else(no_node)?;
        swap::switch(&self.home, &next).map(Outcome::Generation).map_err(|error| world(&error))
    }

    /// Only ever planned when the state fits what `current` names; a bar is lifted only where the journal agrees.
    fn start(&mut self, swap: &Swap, facts: &Facts, ask: fn(u64) -> Request) -> Acted {
        if let Some(barred) = facts.barred.as_ref().filter(|_| !swap.settled()) {
            return Err((Blame::World, barred.clone()));
        }
        marker::clear(&self.home).map_err(|error| world(&error))?;
        self.watch = crate::probation::Watch::default();
        let ready_ms = u64::try_from(self.config.shadow.ready.as_millis()).unwrap_or(u64::MAX);
        match self.supervisor.ask(ask(ready_ms)) {
            Ok(_) => clock::now().map(Outcome::Ready).map_err(|error| world(&error)),
            // A supervisor that could not even make the process refuses by itself.
            Err(ClientError::Refused { reason, by_node: true }) => Err((Blame::Release, reason)),
            Err(error) => Err(world(&error)),
        }
    }

    fn migrate_back(&mut self, swap: &Swap, facts: &Facts) -> Acted {
        let Some(Step { area, from, to, .. }) = swap.next_back().cloned() else {
            return Ok(Outcome::Area(None));
        };
        let (number, version) = (facts.current.generation, &swap.candidate.version);
        marker::set(&self.home, number, version).map_err(|error| world(&error))?;
        // Without the new version's commands there is no way back but the snapshot.
        let release = self.commands(swap).map_err(|(_, reason)| (Blame::Release, reason))?;
        self.run_migration(&release, swap.data, &area, (to, from))?;
        Ok(Outcome::Area(Some(area)))
    }

    /// While nothing can be recorded, nobody is left waiting for a stopped node: what `current` names is started,
    /// unless it is barred.
    pub(super) fn let_go(&mut self) {
        self.keeper = None;
        self.copier = None;
        let held = self.supervisor.status().is_ok_and(|status| status.phase == Phase::Held);
        let current = Generation::current(&self.home).ok().flatten();
        if held
            && current.is_some_and(|c| marker::bars(&self.home, c.number).is_ok_and(|bars| !bars))
        {
            // If it is not, the supervisor does it when the hold runs out.
            let _in_its_own_time = self.supervisor.ask(Request::Start { ready_ms: 0 });
        }
    }

    fn conclude(&mut self, swap: &Swap) -> Acted {
        self.keeper = None;
        self.copier = None;
        self.proof = Proof::default();
        let newest = usize::try_from(self.config.swap.snapshots).unwrap_or(usize::MAX);
        let keep = snapshot::Keep { newest, age: self.config.swap.snapshot_age };
        let now = clock::now().map_err(|error| world(&error))?.wall;
        snapshot::prune(&self.home, keep, now).map_err(|error| world(&error))?;
        self.lease().release(swap.fence).map_err(|error| world(&error))?;
        Ok(Outcome::Done)
    }
}

fn no_node() -> Failed {
    (Blame::Release, "the release does not say how it runs".to_owned())
}

fn misplaced(effect: Effect) -> Failed {
    (Blame::World, format!("{effect} does not belong to this state"))
}

fn refusal(report: &shadow::Report) -> String {
    match &report.verdict {
        shadow::Verdict::Cleared => "it was cleared".to_owned(),
        shadow::Verdict::Refused { reasons } => {
            let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
            format!("refused in the shadow: {}", reasons.join("; "))
        }
    }
}
