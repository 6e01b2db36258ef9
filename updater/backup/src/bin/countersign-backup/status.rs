//! `status`: what waits, what is in the store, what went wrong last. Asks nobody.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::backup::Queue;
use serde_json::json;

use crate::tell;

/// Show what waits, what is in the store, and what went wrong last
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let node = tell::look(&self.node)?;
        let queue = Queue::look(&node.home, &node.backup);
        let queue = queue.map_err(|error| tell::failure(&error.into()))?;
        out.say(match queue.waiting.len() {
            0 => "Every snapshot of this node is in the store.".to_owned(),
            1 => "1 snapshot waits for the store.".to_owned(),
            n => format!("{n} snapshots wait for the store (at most {}).", node.backup.queue),
        });
        if !queue.waiting.is_empty() {
            out.table(
                ["Snapshot", "Made", "Tried"],
                queue.waiting.iter().map(|waiting| {
                    let tried = match (waiting.attempts, waiting.begun) {
                        (0, _) => "not yet".to_owned(),
                        (n, true) => format!("{n} times, the last cut off or under way"),
                        (n, false) => format!("{n} times"),
                    };
                    [waiting.local.snapshot.to_string(), waiting.local.made.to_string(), tried]
                }),
            );
        }
        if let Some(error) = &queue.error {
            out.say(format!("The last attempt failed: {error}"));
        }
        if let Some(next) = queue.next.filter(|_| !queue.waiting.is_empty()) {
            out.say(format!("The agent tries again at {next}."));
        }
        if let Some(last) = &queue.last {
            let (number, id) = (last.local.snapshot, last.id.get(..8).unwrap_or(&last.id));
            out.say(format!("Last brought: snapshot {number}, as {id}, at {}.", last.at));
        }
        if queue.dropped > 0 {
            out.say(format!("{} never reached the store.", queue.dropped));
        }
        out.json(
            &json!({ "length": queue.waiting.len(), "bound": node.backup.queue, "queue": queue }),
        );
        Ok(Exit::Done)
    }
}
