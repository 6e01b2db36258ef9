//! `now`: brings every snapshot that waits, newest first, and forgets what need not be kept.

use std::path::PathBuf;

use countersign_backup::retain::retain;
use countersign_backup::upload::{Before, Whether, upload};
use countersign_backup::{BackupError, Repository};
use countersign_console::{Exit, Failure, Out, Progress};
use countersign_updater::backup::{Local, Queue};
use countersign_updater::trust_store::chain;
use jiff::Timestamp;
use serde_json::json;

use crate::tell::{self, Node};

/// Bring every snapshot that waits, and forget old copies
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
}

#[derive(Default)]
struct Done {
    brought: Vec<(u64, String)>,
    lost: usize,
    forgotten: usize,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let node = tell::node(&self.node)?;
        let _lock = node.lock()?;
        let mut done = Done::default();
        let result = bring_all(&node, &mut done, out);
        let queue = match &result {
            Ok(()) => change(&node, |queue| {
                (queue.failures, queue.next, queue.error) = (0, None, None);
            }),
            Err(error) => {
                let reason = chain(error);
                change(&node, |queue| queue.failed(&reason, Timestamp::now(), &node.backup))
            }
        };
        let queue = queue.map_err(|error| tell::failure(&error))?;
        result.map_err(|error| tell::failure(&error))?;
        if done.brought.is_empty() {
            out.say("Every snapshot of this node is in the store.");
        }
        if done.forgotten > 0 {
            out.say(format!("Forgot {} older copies.", done.forgotten));
        }
        out.json(&json!({
            "brought": done.brought.iter().map(|(snapshot, id)| json!({ "snapshot": snapshot, "id": id }))
                .collect::<Vec<_>>(),
            "lost": done.lost,
            "forgotten": done.forgotten,
            "waiting": queue.waiting.len(),
        }));
        Ok(Exit::Done)
    }
}

fn change(node: &Node, change: impl FnOnce(&mut Queue)) -> Result<Queue, BackupError> {
    Ok(Queue::update(&node.home, &node.backup, change)?)
}

fn bring_all(node: &Node, done: &mut Done, out: Out) -> Result<(), BackupError> {
    let store = node.store()?;
    let session = node.claim(&*store)?;
    let repository = node.repository(store, Some(session))?;
    find_lost(node, &repository, done, out)?;
    let mut refused: Vec<Local> = Vec::new();
    let mut trouble = None;
    let secrets = match node.backup.secrets {
        true => Whether::WithSecrets,
        false => Whether::WithoutSecrets,
    };
    loop {
        let queue = change(node, |_| {})?;
        let cut_off = queue.waiting.iter().any(|waiting| waiting.begun);
        let next = queue.waiting.iter().rev().map(|waiting| &waiting.local);
        let Some(local) = next.into_iter().find(|local| !refused.contains(local)).cloned() else {
            break;
        };
        let before = if cut_off { Before::CutOff } else { Before::Nothing };
        change(node, |queue| queue.began(&local))?;
        let spinner = Progress::spinner(&format!("bringing snapshot {}", local.snapshot));
        let brought = upload(&node.home, &repository, &local, before, secrets);
        drop(spinner);
        match brought {
            Ok(copy) => {
                change(node, |queue| queue.arrived(&local, copy.id.clone(), Timestamp::now()))?;
                out.say(format!("Brought snapshot {} as {}.", local.snapshot, &copy.id[..8]));
                done.brought.push((local.snapshot, copy.id));
            }
            // This one cannot be read: the others may.
            Err(error) if is_local(&error) => {
                refused.push(local);
                trouble.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let forgotten = retain(&repository, &node.backup.keep)?;
    done.forgotten = forgotten.len();
    change(node, |queue| forgotten.iter().for_each(|id| queue.forgotten(id)))?;
    // One that was removed here meanwhile waits no more, and is no trouble.
    let waiting = change(node, |_| {})?.waiting;
    let still = waiting.iter().any(|waiting| refused.contains(&waiting.local));
    trouble.filter(|_| still).map_or(Ok(()), Err)
}

fn is_local(error: &BackupError) -> bool {
    matches!(
        error,
        BackupError::Source { .. }
            | BackupError::SecretElsewhere { .. }
            | BackupError::State(_)
            | BackupError::Generation(_)
            | BackupError::Disk(_)
    )
}

/// A store that does not have what it had is told, and gets it again if it is still here.
fn find_lost(
    node: &Node,
    repository: &Repository,
    done: &mut Done,
    out: Out,
) -> Result<(), BackupError> {
    let stored = change(node, |_| {})?.stored;
    let copies = repository.copies()?;
    for stored in stored.iter().filter(|s| !copies.iter().any(|copy| copy.id == s.id)) {
        let number = stored.local.snapshot;
        out.say(format!("The store has lost the copy of snapshot {number}: it is brought again."));
        done.lost += 1;
        change(node, |queue| queue.lost(&stored.local))?;
    }
    Ok(())
}
