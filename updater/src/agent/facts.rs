//! Looking: what the present state needs to know of the world.

use std::time::{Duration, Instant};

use countersign_metadata::release::Urgency;

use super::{AgentError, Real, RepositoryTrouble, apply, back, clock, orders};
use crate::Config;
use crate::fetch::free_bytes;
use crate::generation::{Generation, Launch};
use crate::hold::Terms;
use crate::machine::facts::{Apply, Current, Health, Leave, Node, Offer, WayBack};
use crate::machine::{Candidate, Facts, Ledger, Moment, State};
use crate::policy::{self, Choice, Verdict};
use crate::probation::Watch;
use crate::supervise::{ExitClass, Phase, Status};
use crate::swap::marker;
use crate::trust_store::{self, chain};

/// Just before a swap, what the repository said may not be older.
const FRESH: Duration = Duration::from_secs(5);

impl Real {
    pub(super) fn look(&mut self, ledger: &Ledger) -> Result<Facts, AgentError> {
        let now = clock::now()?;
        let current = Generation::current(&self.home)?
            .ok_or_else(|| AgentError::NothingInstalled(self.home.current()))?;
        self.known_bad =
            ledger.bad.iter().map(|(artifact, bad)| (*artifact, bad.reason.clone())).collect();
        let standing = &ledger.standing.held;
        let held = standing.iter().filter(|(_, stay)| stay.stands(&now));
        self.held = held.map(|(version, stay)| (version.clone(), stay.to_string())).collect();
        let orders = orders::taken_up(&self.home, ledger)?;
        let (leave, back) = self.leave(ledger, &current)?;
        let mut apply = apply::read(&self.home);
        if let (Some(candidate), Some(asked)) = (ledger.state.candidate(), &apply)
            && !ledger.state.is_rest()
            && candidate.asked
            && asked.means(&candidate.artifact)
        {
            // The journal has it now. A request that cannot be removed is not taken up twice by one candidate.
            let _next_time = apply::withdraw_apply(&self.home);
            apply = None;
        }
        let offer = match &ledger.state {
            state if state.swap().is_some() => Offer::Unasked,
            State::Held { hold, candidate, .. } => {
                let asked =
                    candidate.asked || apply.as_ref().is_some_and(|a| a.means(&candidate.artifact));
                self.offer(&current, &now, asked || hold.is_over(&now))
            }
            _ => self.offer(&current, &now, false),
        };
        if ledger.state.is_rest()
            && matches!(offer, Offer::Nothing { .. })
            && apply == Some(Apply::Next)
        {
            // What was asked for was to take what is offered, and nothing is.
            apply::withdraw_apply(&self.home)?;
            apply = None;
        }
        let status = self.supervisor.status();
        let pid = status.as_ref().ok().and_then(|status| status.pid);
        let since = pid.and_then(|pid| clock::began(pid, &now));
        let node = match &status {
            Ok(status) => node(status),
            Err(error) => Node::Unreachable { reason: chain(error) },
        };
        let status = status.ok();
        let drains = status.as_ref().is_some_and(|status| status.draining > 0);
        let log_from = status.as_ref().map_or(0, |status| status.log_from);
        let (health, unready) = match &ledger.state {
            State::Probation { swap, .. } if swap.undo.is_none() => match node {
                // Two processes share the sockets: nobody knows which of them would answer.
                Node::Up { .. } if drains => self.unwatched(),
                Node::Up { .. } => {
                    let checks = &self.config.probation.checks;
                    (self.watch.ask(&self.home, &current, checks, log_from), Duration::ZERO)
                }
                Node::Starting { .. } | Node::Down { .. } => {
                    (Health::Unasked, self.watch.unready())
                }
                Node::Held | Node::Unreachable { .. } => self.unwatched(),
            },
            _ => self.unwatched(),
        };
        let lease_taken = match &ledger.state {
            State::Held { .. } => self.lease().taken(&now).unwrap_or_else(|e| Some(chain(&e))),
            _ if back.is_some() => self.lease().taken(&now).unwrap_or_else(|e| Some(chain(&e))),
            _ => None,
        };
        if let Some(swap) = ledger.state.swap() {
            // Also by an agent that was started meanwhile: the lease is held until the swap is over.
            self.keep(swap.fence);
        }
        let barred = marker::bars(&self.home, current.number)?
            .then(|| marker::sentence(&self.home, &current));
        let hold = ledger.state.candidate().and_then(|c| ledger.holds.get(&c.artifact)).cloned();
        let starved = status.as_ref().is_some_and(|status| {
            let class = status.last_exit.as_ref().map(|exit| exit.class);
            status.generation == current.number && class == Some(ExitClass::OutOfMemory)
        });
        let starved = starved.then(|| "the kernel ended it for want of memory".to_owned());
        let lacking = self.lacking().or(starved);
        let current = Current {
            generation: current.number,
            version: current.version,
            artifact: current.binary,
            data: current.state,
            areas: current.areas,
            reads: current.launch.reads,
            held: current.held,
        };
        Ok(Facts {
            now,
            current,
            offer,
            node,
            barred,
            lease_taken,
            apply,
            orders,
            leave,
            back,
            since,
            health,
            unready,
            lacking,
            hold,
        })
    }

    /// What the operator wants to leave, until it was left, and what there is to go back to.
    fn leave(
        &self,
        ledger: &Ledger,
        current: &Generation,
    ) -> Result<(Option<Leave>, WayBack), AgentError> {
        let Some(leave) = orders::asked_to_leave(&self.home) else { return Ok((None, None)) };
        let runs = current.binary == leave.artifact;
        if ledger.state.swap().is_none() && (!runs || ledger.bad.contains_key(&leave.artifact)) {
            orders::withdraw_leave(&self.home)?;
            return Ok((None, None));
        }
        let rests = runs && ledger.state.is_rest();
        let back = rests.then(|| back::before(&self.home, ledger, current));
        Ok((Some(leave), back))
    }

    /// What nobody could see does not count.
    fn unwatched(&mut self) -> (Health, Duration) {
        self.watch = Watch::default();
        (Health::Unasked, Duration::ZERO)
    }

    /// What this machine lacks, so that what fails on it just now proves nothing about a release.
    pub(super) fn lacking(&self) -> Option<String> {
        let wanted = self.config.free_space;
        let places = [self.home.path().to_owned(), self.home.states()];
        places.into_iter().find_map(|place| match free_bytes(&place) {
            Ok(free) if free < wanted => {
                Some(format!("{} has {free} bytes free, of {wanted} wanted", place.display()))
            }
            _ => None,
        })
    }

    /// Asks the repository if it was not asked lately, and the policy every time.
    fn offer(&mut self, current: &Generation, now: &Moment, soon: bool) -> Offer {
        let oldest =
            if soon { FRESH.min(self.config.check_every) } else { self.config.check_every };
        if self.asked.as_ref().is_none_or(|(_, when)| when.elapsed() >= oldest) {
            let answer =
                trust_store::refresh(&self.home, &self.config, now.wall).map_err(|error| {
                    RepositoryTrouble { reason: chain(&error), unreachable: error.is_unreachable() }
                });
            self.tally.refreshed(now.wall, answer.is_ok());
            if let Ok(refreshed) = &answer {
                let listed = refreshed.releases.verified.iter();
                let listed = listed.map(|target| target.release().artifact.sha256);
                if self.seen.look(listed, now) {
                    // A disk that is full now costs ages at the next start, and they only ever get younger by that.
                    let _begins_anew = self.seen.keep(&self.home);
                }
            }
            self.asked = Some((answer, Instant::now()));
        }
        let refreshed = match &self.asked {
            Some((Ok(refreshed), _)) => refreshed,
            Some((Err(trouble), _)) => return Offer::Unknown { reason: trouble.reason.clone() },
            None => return Offer::Unasked,
        };
        let facts = policy::Facts {
            running: Some(current),
            known_bad: &self.known_bad,
            reproduced: &refreshed.reproduced,
            ages: &self.seen.ages(now),
            held: &self.held,
            only: None,
        };
        let choice = policy::choose(&self.config, &refreshed.releases, facts);
        offered(&self.config, choice, current)
    }
}

fn offered(config: &Config, choice: Choice, current: &Generation) -> Offer {
    let Some(approved) = choice.approved else {
        let refused = choice.decisions.iter().filter_map(|decision| match &decision.verdict {
            Verdict::Refused(reasons)
                if decision.version.as_ref().is_none_or(|v| *v > current.version) =>
            {
                let name =
                    decision.version.as_ref().map_or(decision.path.clone(), |v| v.to_string());
                let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
                Some(format!("{name} is refused: {}", reasons.join("; ")))
            }
            _ => None,
        });
        let mut words = vec![match choice.running_revoked {
            false => format!("{} runs and nothing newer is offered", current.version),
            true => format!(
                "{} runs, its keyholders have revoked it, and nothing newer is to be had (what ran before: \
                 `countersign-updater rollback`)",
                current.version
            ),
        }];
        words.extend(refused);
        return Offer::Nothing { reason: words.join(". ") };
    };
    let release = approved.release();
    let areas = release.node.iter().flat_map(|node| &node.areas);
    let signers: Vec<_> = approved.target().signers().iter().map(|s| s.to_string()).collect();
    let mut reason = format!("{} is offered, signed by {}", release.version, signers.join(" and "));
    if choice.running_revoked {
        reason.push_str(&format!("; {}, which runs, is revoked", current.version));
    }
    // To leave what was revoked is urgent, whatever comes instead.
    let urgent = release.urgency == Urgency::Urgent || choice.running_revoked;
    let rollout = approved.target().rollout();
    let terms = Terms::new(config.delay, config.urgent_floor, urgent, rollout);
    let candidate = Candidate {
        artifact: release.artifact.sha256,
        version: release.version.clone(),
        path: approved.target().path().to_owned(),
        areas: areas.clone().map(|(area, spec)| (area.clone(), spec.schema)).collect(),
        reads: areas
            .filter(|(_, spec)| !spec.reads.is_empty())
            .map(|(area, spec)| (area.clone(), spec.reads.clone()))
            .collect(),
        actions: release.actions.clone(),
        asked: false,
        overlap: release
            .node
            .as_ref()
            .is_some_and(|node| current.launch.overlaps(&Launch::new(node, &config.listen))),
    };
    Offer::Release { candidate, terms: Box::new(terms), reason }
}

fn node(status: &Status) -> Node {
    let Status { generation, crashes, reason, .. } = status.clone();
    match status.phase {
        Phase::Held => Node::Held,
        Phase::Starting => Node::Starting { generation, crashes },
        Phase::Ready => Node::Up { generation, crashes },
        Phase::Stopping | Phase::Waiting => Node::Down { reason, crashes },
    }
}
