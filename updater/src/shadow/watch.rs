//! Starts a payload, waits until it is ready and healthy, watches it for its window, and stops it.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign_metadata::node::Ready;
use countersign_sandbox::{Attempt, Exit, Lowerable, Readiness, Running, Sandbox, Usage};
use regex_lite::Regex;

use super::probe;
use super::report::{HealthSeen, millis};
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
}

pub(super) fn watch(sandbox: Sandbox, plan: &Plan) -> Result<Seen, countersign_sandbox::Error> {
    let started = Instant::now();
    let mut running = sandbox.spawn()?;
    let deadline = started + plan.ready_within;
    let ready = wait_ready(&mut running, plan, deadline)?;
    let waited = started.elapsed();
    let mut health = None;
    let mut failed_check = None;
    let mut watched = Duration::ZERO;
    if ready {
        let from = Instant::now();
        health = first_health(&mut running, plan, deadline);
        let end = from + plan.window;
        let mut next_probe = from + PROBE_EVERY;
        while Instant::now() < end && running.has_exited().is_none() {
            pause(TICK.min(end.saturating_duration_since(Instant::now())));
            if Instant::now() >= next_probe && running.has_exited().is_none() {
                health = worse(health, ask(&running, plan));
                next_probe = Instant::now() + PROBE_EVERY;
            }
        }
        watched = from.elapsed();
        if running.has_exited().is_none() {
            health = worse(health, ask(&running, plan));
            failed_check = failed(&running, plan);
        }
    }
    let early = running.has_exited().is_some();
    if !early {
        running.terminate(plan.grace)?;
    }
    let ended = running.wait()?;
    Ok(Seen {
        ready_after: ready.then_some(waited),
        waited,
        watched,
        health,
        failed_check,
        early,
        exit: ended.exit,
        grace: plan.grace,
        attempts: ended.attempts,
        unaccounted: ended.unaccounted,
        usage: ended.usage,
        lowered: ended.lowered,
    })
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
