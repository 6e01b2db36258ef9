//! `takeover`: this node writes the store from now on.

use std::path::PathBuf;

use countersign_backup::{BackupError, owner};
use countersign_console::{Exit, Failure, Out};
use serde_json::json;

use crate::tell::{self, Node};

/// Make this node the store's one writer; whoever was it is kept out from now on
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let node = tell::node(&self.node)?;
        let _lock = node.lock()?;
        let (before, now) = takeover(&node).map_err(|error| tell::failure(&error))?;
        match &before {
            Some(before) => out.say(format!(
                "The store was node {}'s, written last at {}. It is this node's now.",
                before.node, before.at
            )),
            None => out.say("The store had no owner's marker. It is this node's now."),
        }
        out.json(&json!({ "before": before, "owner": now }));
        Ok(Exit::Done)
    }
}

fn takeover(node: &Node) -> Result<(Option<owner::Marker>, owner::Marker), BackupError> {
    let store = node.store()?;
    // Whoever takes a store over can open it: a mistyped address keeps nobody out of his own.
    node.repository(store.clone(), None)?;
    let before = match owner::look(&*store) {
        Err(owner::OwnerError::Damaged(_)) => None,
        before => before?,
    };
    let session = owner::take(&node.home, &*store)?;
    Ok((before, session.marker().clone()))
}
