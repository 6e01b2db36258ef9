//! Watching a new version: its health and the checks of release and operator, asked again and again, and for how long
//! they have been bad.

mod ask;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use countersign_metadata::node::{Check, Number};
use regex_lite::Regex;

use crate::Home;
use crate::generation::Generation;
use crate::machine::facts::Health;
use crate::supervise::Log;
use ask::Asker;

/// Remembers since when the answers are bad. A new process begins anew: it was not there to see. So does every start
/// of a version and every swap.
#[derive(Debug, Default)]
pub struct Watch {
    began: Option<Instant>,
    checks: BTreeMap<String, Seen>,
    unready_since: Option<Instant>,
}

/// What is remembered of one check.
#[derive(Debug, Default)]
struct Seen {
    bad_since: Option<Instant>,
    /// Where the log was read up to.
    log: Option<Log>,
    /// Whether a line of it matched.
    matched: bool,
    /// The highest number so far, and since when.
    height: Option<(i128, Instant)>,
    /// Whether it was seen to grow.
    grew: bool,
}

/// What one check came to.
enum Answer {
    Good,
    /// Neither good nor bad yet.
    Pending(String),
    Bad(Duration, String),
}

/// A check that took all the time it may has no more patience to ask for.
const OVERDUE: Duration = Duration::MAX;

impl Watch {
    /// Asks a node that is up, once: the health probe, the release's checks and the operator's, whose names win. What
    /// it printed counts from byte `log_from` of its log on. A release without any question is as healthy as it runs.
    pub fn ask(
        &mut self,
        home: &Home,
        generation: &Generation,
        operator: &BTreeMap<String, Check>,
        log_from: u64,
    ) -> Health {
        self.unready_since = None;
        let began = *self.began.get_or_insert_with(Instant::now);
        let health = generation.launch.health.iter().map(|health| {
            let (listen, path) = (health.listen.clone(), health.path.clone());
            ("health".to_owned(), (Check::Http { listen, path }, false))
        });
        let released = generation.launch.checks.iter();
        let released = released.map(|(name, check)| (name.clone(), (check.clone(), false)));
        let operator = operator.iter().map(|(name, check)| (name.clone(), (check.clone(), true)));
        let all: BTreeMap<_, _> = health.chain(released).chain(operator).collect();

        let mut pending = None;
        let mut worst: Option<(Duration, String)> = None;
        for (name, (check, of_operator)) in &all {
            let asker = Asker { home, generation, of_operator: *of_operator };
            let seen = self.checks.entry(name.clone()).or_default();
            match seen.ask(&asker, name, check, (began, log_from)) {
                Answer::Good => {}
                Answer::Pending(reason) => pending = Some(format!("{name}: {reason}")),
                Answer::Bad(lasting, reason) => {
                    if worst.as_ref().is_none_or(|(longest, _)| lasting > *longest) {
                        worst = Some((lasting, format!("{name}: {reason}")));
                    }
                }
            }
        }
        match (worst, pending) {
            (Some((lasting, reason)), _) => Health::Bad { lasting, reason },
            (None, Some(reason)) => Health::Pending { reason },
            (None, None) => Health::Good,
        }
    }

    /// The node is not up: for how long it has not been.
    pub fn unready(&mut self) -> Duration {
        // Whoever is not up is not asked: answers from before it went down say nothing about after.
        (self.began, self.checks) = (None, BTreeMap::new());
        self.unready_since.get_or_insert_with(Instant::now).elapsed()
    }
}

impl Seen {
    fn ask(
        &mut self,
        asker: &Asker<'_>,
        name: &str,
        check: &Check,
        (began, log_from): (Instant, u64),
    ) -> Answer {
        match check {
            Check::Http { listen, path } => self.now(asker.http(listen, path).map(drop)),
            Check::Tcp { listen } => self.now(asker.tcp(listen)),
            Check::Command { command } => self.now(asker.command(name, command).map(drop)),
            Check::Log { line, within } => {
                let limit = Duration::from_secs(u64::from(*within));
                let log = self
                    .log
                    .get_or_insert_with(|| Log::from_place(&asker.home.node_log(), log_from));
                self.matched =
                    self.matched || Regex::new(line).is_ok_and(|line| log.matches(&line));
                match self.matched {
                    true => Answer::Good,
                    false if began.elapsed() < limit => {
                        Answer::Pending(format!("no line matches {line:?} yet"))
                    }
                    false => Answer::Bad(OVERDUE, format!("no line matched {line:?} in {limit:?}")),
                }
            }
            Check::Height { from, within } => {
                let limit = Duration::from_secs(u64::from(*within));
                let number = match from {
                    Number::Http(from) => asker.http_number(from),
                    Number::Command(from) => asker.command_number(name, &from.command),
                };
                self.grows(number, limit, began)
            }
        }
    }

    fn now(&mut self, answer: Result<(), String>) -> Answer {
        match answer {
            Ok(()) => {
                self.bad_since = None;
                Answer::Good
            }
            Err(reason) => {
                Answer::Bad(self.bad_since.get_or_insert_with(Instant::now).elapsed(), reason)
            }
        }
    }

    fn grows(&mut self, number: Result<i128, String>, limit: Duration, began: Instant) -> Answer {
        let trouble = match number {
            Err(reason) => reason,
            Ok(number) => match self.height {
                Some((highest, _)) if number <= highest => format!("it stays at {highest}"),
                before => {
                    self.grew |= before.is_some();
                    self.height = Some((number, Instant::now()));
                    format!("it is {number} and was not seen to grow yet")
                }
            },
        };
        let since = self.height.map_or(began, |(_, since)| since);
        match self.grew {
            _ if since.elapsed() >= limit => {
                Answer::Bad(OVERDUE, format!("it did not grow within {limit:?}: {trouble}"))
            }
            true => Answer::Good,
            false => Answer::Pending(trouble),
        }
    }
}

#[cfg(test)]
mod tests;
