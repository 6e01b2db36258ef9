//! Starts a payload, waits until it is ready and healthy, watches it for its window, and stops it.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign_metadata::node::Ready;
use countersign_sandbox::{Attempt, Exit, Lowerable, Readiness, Running, Sandbox, Usage};
use regex_lite::Regex;

use super::judge::exit_text;
use super::mirror::{self, Mirror, Mirrored};
use super::probe;
use super::report::{HealthSeen, millis};
use super::script::Script;
use super::series::{Looks, Series};
use crate::supervise::Log;

/// How long one health probe may take.
const PROBE: Duration = Duration::from_secs(5);
/// Between two looks at the payload.
const TICK: Duration = Duration::from_millis(50);
/// Between two health probes while it is watched.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long an idle connection must stay open to count as taken.
const STAYS_OPEN: Duration = Duration::from_millis(250);

/// What is asked of the payload.
pub(super) struct Plan {
    pub(super) ready: Ready,
    pub(super) first_socket: Option<SocketAddr>,
    pub(super) health: Option<(SocketAddr, String)>,
    pub(super) ready_line: Option<Regex>,
    pub(super) checks: Vec<(String, Asked)>,
    /// Where what it prints goes.
    pub(super) log: PathBuf,
    pub(super) ready_within: Duration,
    pub(super) window: Duration,
    pub(super) grace: Duration,
    /// Live traffic, where the operator wants it.
    pub(super) mirror: Option<mirror::Plan>,
}

/// A check that can be asked in the shadow.
pub(super) enum Asked {
    Http(SocketAddr, String),
    Tcp(SocketAddr),
    /// Asked once, at the end of the window.
    Log(Regex),
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) ready_after: Option<Duration>,
    pub(super) waited: Duration,
    pub(super) watched: Duration,
    pub(super) health: Option<HealthSeen>,
    /// The first check that failed, and how.
    pub(super) failed_check: Option<(String, String)>,
    pub(super) early: bool,
    pub(super) exit: Exit,
    pub(super) grace: Duration,
    pub(super) attempts: Vec<Attempt>,
    pub(super) unaccounted: u64,
    pub(super) usage: Usage,
    pub(super) lowered: Vec<Lowerable>,
    /// What it held while it was watched.
    pub(super) series: Series,
    /// The system calls that it used, in a run that counts them.
    pub(super) calls: BTreeSet<String>,
}

/// What was seen of the new version, and of the old one beside it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) new: Seen,
    /// Why there is none, if it was to be run.
    pub(super) old: Option<Result<Seen, String>>,
    pub(super) script: Option<Script>,
    pub(super) mirrored: Option<Mirrored>,
}

/// One version in a sandbox of its own.
pub(super) struct Lane<'a> {
    plan: &'a Plan,
    pub(super) running: Running,
    started: Instant,
    ready_after: Option<Duration>,
    waited: Duration,
    health: Option<HealthSeen>,
    failed_check: Option<(String, String)>,
    series: Series,
}

/// Runs the new version, and the old one beside it if there is one: both are asked and looked at in turn, so that whatever
/// else happens on the machine happens to both.
pub(super) fn watch(
    sandbox: Sandbox,
    plan: &Plan,
    beside: Option<(Sandbox, Plan)>,
    mut script: Option<Script>,
) -> Result<Watched, countersign_sandbox::Error> {
    let (sandbox_of_old, plan_of_old) = beside.unzip();
    let mut old = sandbox_of_old.zip(plan_of_old.as_ref()).map(|(sandbox, plan)| {
        Lane::start(sandbox, plan).map_err(|error| crate::trust_store::chain(&error))?.fit()
    });
    let mut new = Lane::start(sandbox, plan)?;
    let (mut watched, mut mirrored) = (Duration::ZERO, None);
    if new.ready_after.is_some() {
        let from = Instant::now();
        new.first_health();
        let mirror = plan.mirror.as_ref().map(|plan| {
            let old = running(old.as_ref()).map(Running::caller);
            Mirror::begin(plan, &new.running.caller(), old.as_ref())
        });
        let end = Instant::now() + plan.window;
        let mut next_probe = from + PROBE_EVERY;
        let mut looks = Looks::from(from);
        while Instant::now() < end && new.running.has_exited().is_none() {
            old = old.map(|old| old.and_then(Lane::lives));
            if Instant::now() >= looks.due() {
                look(&mut looks, &mut new, &mut old);
            }
            if let Some(script) = script.as_mut().filter(|script| script.due() <= Instant::now()) {
                script.round(&new.running, running(old.as_ref()));
            }
            let lanes = std::iter::once(&mut new).chain(lane(&mut old));
            if Instant::now() >= next_probe {
                lanes.for_each(Lane::probe);
                next_probe = Instant::now() + PROBE_EVERY;
            }
            let due = script.as_ref().map_or(end, Script::due).min(looks.due()).min(end);
            pause(TICK.min(due.saturating_duration_since(Instant::now())));
        }
        mirrored = mirror.map(|mirror| mirror.map_or_else(|why| *why, Mirror::end));
        watched = from.elapsed();
        if new.running.has_exited().is_none() {
            look(&mut looks, &mut new, &mut old);
            new.probe();
            new.failed_check = failed(&new.running, plan);
        }
    }
    let new = new.finish(watched)?;
    let old = old.map(|old| {
        old.and_then(|lane| lane.finish(watched).map_err(|error| crate::trust_store::chain(&error)))
    });
    Ok(Watched { new, old, script, mirrored })
}

fn running<'a>(old: Option<&'a Result<Lane<'_>, String>>) -> Option<&'a Running> {
    old.and_then(|old| old.as_ref().ok()).map(|lane| &lane.running)
}

fn lane<'a, 'b>(old: &'a mut Option<Result<Lane<'b>, String>>) -> Option<&'a mut Lane<'b>> {
    old.as_mut().and_then(|old| old.as_mut().ok())
}

fn look<'a>(looks: &mut Looks, new: &mut Lane<'a>, old: &mut Option<Result<Lane<'a>, String>>) {
    let lanes = std::iter::once(new).chain(lane(old));
    looks.take(lanes.map(|lane| (&mut lane.series, lane.running.sample())));
}

impl<'a> Lane<'a> {
    /// Starts it, and waits until it is ready.
    pub(super) fn start(
        sandbox: Sandbox,
        plan: &'a Plan,
    ) -> Result<Self, countersign_sandbox::Error> {
        let started = Instant::now();
        let mut running = sandbox.spawn()?;
        let ready = wait_ready(&mut running, plan, started + plan.ready_within)?;
        let waited = started.elapsed();
        Ok(Self {
            plan,
            running,
            started,
            ready_after: ready.then_some(waited),
            waited,
            health: None,
            failed_check: None,
            series: Series::default(),
        })
    }

    /// The old version, if it can be compared with: it is ready and healthy.
    pub(super) fn fit(mut self) -> Result<Self, String> {
        if self.ready_after.is_some() {
            self.first_health();
        }
        let trouble = self.health.as_ref().and_then(|health| health.trouble.clone());
        match (self.ready_after, trouble) {
            (Some(_), None) => self.lives(),
            (Some(_), Some(trouble)) => Err(format!("its health probe failed: {trouble}")),
            (None, _) => {
                let not_ready = format!("it was not ready after {} ms", millis(self.waited));
                self.lives().and(Err(not_ready))
            }
        }
    }

    fn lives(mut self) -> Result<Self, String> {
        match self.running.has_exited() {
            Some(exit) => Err(format!("it ended by itself, with {}", exit_text(exit))),
            None => Ok(self),
        }
    }

    fn first_health(&mut self) {
        let deadline = self.started + self.plan.ready_within;
        self.health = first_health(&mut self.running, self.plan, deadline);
    }

    fn probe(&mut self) {
        if self.running.has_exited().is_none() {
            self.health = worse(self.health.take(), ask(&self.running, self.plan));
        }
    }

    pub(super) fn finish(mut self, watched: Duration) -> Result<Seen, countersign_sandbox::Error> {
        let early = self.running.has_exited().is_some();
        if !early {
            self.running.terminate(self.plan.grace)?;
        }
        let ended = self.running.wait()?;
        Ok(Seen {
            ready_after: self.ready_after,
            waited: self.waited,
            watched,
            health: self.health,
            failed_check: self.failed_check,
            early,
            exit: ended.exit,
            grace: self.plan.grace,
            attempts: ended.attempts,
            unaccounted: ended.unaccounted,
            usage: ended.usage,
            series: self.series,
            calls: ended.calls,
            lowered: ended.lowered,
        })
    }
}

/// Between two looks at a payload: the sandbox tells nobody when it has seen something new.
#[expect(clippy::disallowed_methods, reason = "watching is waiting; every caller has a deadline")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn wait_ready(
    running: &mut Running,
    plan: &Plan,
    deadline: Instant,
) -> Result<bool, countersign_sandbox::Error> {
    if plan.ready == Ready::Notify {
        return Ok(running.wait_ready(deadline)? == Readiness::Ready);
    }
    if let Some(line) = &plan.ready_line {
        let mut printed = Log::from_place(&plan.log, 0);
        while Instant::now() < deadline && running.has_exited().is_none() {
            if printed.matches(line) {
                return Ok(true);
            }
            pause(TICK);
        }
        return Ok(false);
    }
    let Some(address) = plan.first_socket else { return Ok(true) };
    while Instant::now() < deadline && running.has_exited().is_none() {
        let taken = match (running.connect(address), &plan.health) {
            (Err(_), _) => false,
            (Ok(_), Some(_)) => ask(running, plan).is_some_and(|health| health.trouble.is_none()),
            (Ok(stream), None) => probe::stays_open(&stream, STAYS_OPEN).unwrap_or(false),
        };
        if taken && running.has_exited().is_none() {
            return Ok(true);
        }
        pause(TICK);
    }
    Ok(false)
}

/// Asks until the first good answer, or until it should have been ready.
fn first_health(running: &mut Running, plan: &Plan, deadline: Instant) -> Option<HealthSeen> {
    loop {
        let health = ask(running, plan)?;
        let over = Instant::now() >= deadline || running.has_exited().is_some();
        if health.trouble.is_none() || over {
            return Some(health);
        }
        pause(TICK);
    }
}

/// A failure is never forgotten because of a later success.
fn worse(before: Option<HealthSeen>, now: Option<HealthSeen>) -> Option<HealthSeen> {
    match (before, now) {
        (Some(before), _) if before.trouble.is_some() => Some(before),
        (before, now) => now.or(before),
    }
}

/// The first check that fails at the end of the window.
fn failed(running: &Running, plan: &Plan) -> Option<(String, String)> {
    let connect = |address: &SocketAddr| {
        running.connect(*address).map_err(|error| crate::trust_store::chain(&error))
    };
    plan.checks.iter().find_map(|(name, asked)| {
        let answer = match asked {
            Asked::Http(address, path) => {
                connect(address).and_then(|stream| match probe::health(stream, path, PROBE) {
                    Ok(answer) if answer.status == 200 => Ok(()),
                    Ok(answer) => Err(format!("status {}", answer.status)),
                    Err(error) => Err(crate::trust_store::chain(&error)),
                })
            }
            Asked::Tcp(address) => connect(address).and_then(|stream| {
                match probe::stays_open(&stream, STAYS_OPEN).unwrap_or(false) {
                    true => Ok(()),
                    false => Err("the connection was closed".to_owned()),
                }
            }),
            Asked::Log(line) => match Log::from_place(&plan.log, 0).matches(line) {
                true => Ok(()),
                false => Err(format!("no line matched {:?}", line.as_str())),
            },
        };
        answer.err().map(|trouble| (name.clone(), trouble))
    })
}

fn ask(running: &Running, plan: &Plan) -> Option<HealthSeen> {
    let (address, path) = plan.health.as_ref()?;
    let began = Instant::now();
    let answer = running
        .connect(*address)
        .map_err(|error| crate::trust_store::chain(&error))
        .and_then(|stream: TcpStream| {
            probe::health(stream, path, PROBE).map_err(|error| crate::trust_store::chain(&error))
        });
    let took_ms = millis(began.elapsed());
    Some(match answer {
        Err(trouble) => HealthSeen {
            path: path.clone(),
            status: None,
            trouble: Some(trouble),
            product: None,
            version: None,
            took_ms,
        },
        Ok(answer) => {
            let json: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
            let field = |name: &str| Some(json.as_ref()?.get(name)?.as_str()?.to_owned());
            HealthSeen {
                path: path.clone(),
                status: Some(answer.status),
                trouble: (answer.status != 200).then(|| format!("status {}", answer.status)),
                product: field("product"),
                version: field("version"),
                took_ms,
            }
        }
    })
}
