//! Looking: what the present state needs to know of the world.

use std::time::{Duration, Instant};

use super::{AgentError, Real, RepositoryTrouble, apply, clock};
use crate::fetch::free_bytes;
use crate::generation::Generation;
use crate::machine::facts::{Apply, Current, Health, Node, Offer};
use crate::machine::{Candidate, Facts, Ledger, Moment, State};
use crate::policy::{self, Choice, Verdict};
use crate::probation::Watch;
use crate::supervise::{Phase, Status};
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
                self.offer(&current, &now, asked || now.reached(&hold.not_before))
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
        let node = match self.supervisor.status() {
            Ok(status) => node(status),
            Err(error) => Node::Unreachable { reason: chain(&error) },
        };
        let (health, unready) = match &ledger.state {
            State::Probation { swap, .. } if swap.undo.is_none() => match node {
                Node::Up { .. } => (self.watch.ask(&current), Duration::ZERO),
                Node::Starting { .. } | Node::Down { .. } => {
                    (Health::Unasked, self.watch.unready())
                }
                Node::Held | Node::Unreachable { .. } => self.unwatched(),
            },
            _ => self.unwatched(),
        };
        let lease_taken = match &ledger.state {
            State::Held { .. } => self.lease().taken(&now).unwrap_or_else(|e| Some(chain(&e))),
            _ => None,
        };
        if let Some(swap) = ledger.state.swap()
            && node == Node::Held
        {
            self.keep(swap.fence);
        }
        let barred = marker::bars(&self.home, current.number)?
            .then(|| marker::sentence(&self.home, &current));
        let hold = ledger.state.candidate().and_then(|c| ledger.holds.get(&c.artifact)).cloned();
        let lacking = self.lacking();
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
            health,
            unready,
            lacking,
            hold,
        })
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
            self.seen.refreshed(now.wall, answer.is_ok());
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
            only: None,
        };
        let choice = policy::choose(&self.config, &refreshed.releases, facts);
        offered(choice, current)
    }
}

fn offered(choice: Choice, current: &Generation) -> Offer {
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
        let mut words = vec![format!("{} runs and nothing newer is offered", current.version)];
        words.extend(refused);
        return Offer::Nothing { reason: words.join(". ") };
    };
    let release = approved.release();
    let areas = release.node.iter().flat_map(|node| &node.areas);
    let signers: Vec<_> = approved.target().signers().iter().map(|s| s.to_string()).collect();
    let reason = format!("{} is offered, signed by {}", release.version, signers.join(" and "));
    let candidate = Candidate {
        artifact: release.artifact.sha256,
        version: release.version.clone(),
        path: approved.target().path().to_owned(),
        areas: areas.clone().map(|(area, spec)| (area.clone(), spec.schema)).collect(),
        reads: areas
            .filter(|(_, spec)| !spec.reads.is_empty())
            .map(|(area, spec)| (area.clone(), spec.reads.clone()))
            .collect(),
        asked: false,
    };
    Offer::Release { candidate, reason }
}

fn node(status: Status) -> Node {
    let Status { generation, crashes, reason, .. } = status;
    match status.phase {
        Phase::Held => Node::Held,
        Phase::Starting => Node::Starting { generation, crashes },
        Phase::Ready => Node::Up { generation, crashes },
        Phase::Stopping | Phase::Waiting => Node::Down { reason, crashes },
    }
}
