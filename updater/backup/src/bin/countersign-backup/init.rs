//! `init`: the repository that a node's configuration names.

use std::path::PathBuf;

use countersign_backup::{BackupError, Repository, owner, secret};
use countersign_console::{Exit, Failure, Out};
use serde_json::json;

use crate::tell::{self, Node};

/// Make the encrypted repository, once; this node is then its one writer
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let node = tell::node(&self.node)?;
        let _lock = node.lock()?;
        let (place, atomic) = init(&node).map_err(|error| tell::failure(&error))?;
        out.say(format!("Made a repository in {place}. Everything in it is encrypted."));
        out.say(
            "Keep a copy of the password elsewhere: without it nobody can ever read the copies.",
        );
        if !atomic {
            out.say(
                "This store does not heed conditions on writes: two nodes that take it over in the same instant \
                 may both believe they have it, until their next write.",
            );
        }
        out.say("The agent brings every new snapshot; to bring those that are there: countersign-backup now NODE");
        out.json(&json!({ "store": place, "atomic-marker": atomic }));
        Ok(Exit::Done)
    }
}

fn init(node: &Node) -> Result<(String, bool), BackupError> {
    let password = secret::password(&node.backup.password_file)?;
    let store = node.store()?;
    if countersign_backup::repository::exists(&*store)? {
        return Err(BackupError::Exists(store.place().to_owned()));
    }
    let session = match owner::look(&*store)? {
        None => owner::take(&node.home, &*store)?,
        // Begun before, by this node or by another.
        Some(_) => owner::claim(&node.home, &*store)?,
    };
    // Keys of a try that was cut off open nothing, and would be tried first.
    for key in store.list("keys")? {
        store.remove(&key.path)?;
    }
    let repository = Repository::init(store.clone(), &password, session)?;
    Ok((repository.place().to_owned(), store.is_atomic()?))
}
