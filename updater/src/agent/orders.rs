//! `NODE/run/order-ID.json` and `NODE/run/rollback.json`: what the operator orders, until the journal has it.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{AgentError, alone, now};
use crate::Home;
use crate::durable::{self, DiskError, OnDisk};
use crate::machine::facts::Leave;
use crate::machine::journal::Kind;
use crate::machine::{Effect, Journal, Ledger, Order, Wanted};

/// Longest order, in bytes.
const MAX_ORDER: u64 = 16 << 10;

fn path(home: &Home, id: &str) -> PathBuf {
    home.run().join(format!("order-{id}.json"))
}

fn rollback(home: &Home) -> PathBuf {
    home.run().join("rollback.json")
}

/// What an order came to.
#[derive(Clone, Debug)]
pub enum TakenDown {
    /// The journal has it: so the node is from here on.
    Done(Box<Ledger>),
    /// The agent that runs takes it down at its next look, or after the swap that is under way.
    Soon,
}

/// Orders something. Where no agent runs it is taken down here and now, else by the agent.
///
/// # Errors
/// The disk fails, or the journal cannot be used.
pub fn order(home: &Home, what: Wanted) -> Result<TakenDown, AgentError> {
    let at = now()?;
    let id = format!("{:020}-{}", at.wall.as_nanosecond().max(0), std::process::id());
    write(&path(home, &id), &Order { id: id.clone(), what })?;
    let _alone = match alone(home) {
        Ok(lock) => lock,
        Err(AgentError::Busy(_)) => return Ok(TakenDown::Soon),
        Err(error) => return Err(error),
    };
    let (mut journal, records) = Journal::open(&home.journal())?;
    let mut ledger = Ledger::of(&records);
    for order in taken_up(home, &ledger)? {
        if ledger.state.swap().is_some() {
            return Ok(TakenDown::Soon);
        }
        let (why, state) = (order.what.to_string(), ledger.state.clone());
        for (kind, order) in [(Kind::Intent, None), (Kind::Done, Some(order))] {
            ledger.take(&journal.append_with(now()?, kind, Effect::Order, &why, &state, order)?);
        }
    }
    taken_up(home, &ledger)?;
    Ok(TakenDown::Done(Box::new(ledger)))
}

/// What is ordered and the journal does not have, oldest first. Looking removes nothing.
///
/// # Errors
/// The disk fails.
pub fn pending(home: &Home, ledger: &Ledger) -> Result<Vec<Order>, DiskError> {
    let mut orders = all(home)?;
    orders.retain(|order| !ledger.standing.heard.contains(&order.id));
    Ok(orders)
}

/// The same, and what the journal has is removed.
pub(super) fn taken_up(home: &Home, ledger: &Ledger) -> Result<Vec<Order>, DiskError> {
    let (heard, orders) =
        all(home)?.into_iter().partition::<Vec<_>, _>(|o| ledger.standing.heard.contains(&o.id));
    for order in heard {
        // It says nothing new; the next look tries again.
        let _next_time = fs::remove_file(path(home, &order.id));
    }
    Ok(orders)
}

/// Every order that lies there. A file that cannot be read orders nothing.
fn all(home: &Home) -> Result<Vec<Order>, DiskError> {
    let run = home.run();
    let mut orders = Vec::new();
    for entry in fs::read_dir(&run).on_disk("read", &run)? {
        let name = entry.on_disk("read", &run)?.file_name();
        let id = name.to_str().and_then(|n| n.strip_prefix("order-")?.strip_suffix(".json"));
        let Some(id) = id else { continue };
        let bytes = durable::read(&run.join(&name), MAX_ORDER).ok().flatten();
        let order = bytes.and_then(|bytes| serde_json::from_slice::<Order>(&bytes).ok());
        orders.extend(order.filter(|order| order.id == id));
    }
    orders.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(orders)
}

/// Asks the agent, running or not, to leave a release for what ran before it.
///
/// # Errors
/// The disk fails.
pub fn ask_to_leave(home: &Home, leave: &Leave) -> Result<(), DiskError> {
    write(&rollback(home), leave)
}

/// Takes that request back, if there is one.
///
/// # Errors
/// The disk fails.
pub fn withdraw_leave(home: &Home) -> Result<(), DiskError> {
    match fs::remove_file(rollback(home)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("remove", &rollback(home), error))
        }
        _ => Ok(()),
    }
}

/// What the operator wants to leave. A file that cannot be read asks for nothing.
pub fn asked_to_leave(home: &Home) -> Option<Leave> {
    let bytes = durable::read(&rollback(home), MAX_ORDER).ok()??;
    serde_json::from_slice(&bytes).ok()
}

fn write(path: &std::path::Path, what: &impl serde::Serialize) -> Result<(), DiskError> {
    let bytes = serde_json::to_vec(what).map_err(io::Error::from).on_disk("write", path)?;
    durable::write(path, &bytes)
}
