//! `list`: the copies in the store.

use std::path::PathBuf;

use countersign_backup::owner;
use countersign_console::{Exit, Failure, Out};
use serde_json::json;

use crate::tell;

/// List the copies in the store, and whose it is
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let node = tell::look(&self.node)?;
        let fail = |error| tell::failure(&error);
        let store = node.store().map_err(fail)?;
        let marker = owner::look(&*store).map_err(|error| fail(error.into()))?;
        let copies = node.repository(store, None).and_then(|r| r.copies()).map_err(fail)?;
        out.table(
            ["Copy", "State of", "Product", "Version", "Bytes", "Secrets"],
            copies.iter().map(|copy| {
                let id = copy.id.get(..8).unwrap_or(&copy.id).to_owned();
                let version = copy.version.clone();
                let secrets = if copy.without_secrets { "left out" } else { "all" }.to_owned();
                let (at, size) = (copy.at.to_string(), copy.size.to_string());
                [id, at, copy.product.clone(), version, size, secrets]
            }),
        );
        if let Some(marker) = &marker {
            let (node, fence) = (&marker.node, marker.fence);
            out.say(format!("Written by node {node}, session {fence}, at {}.", marker.at));
        }
        out.json(&json!({ "copies": copies, "owner": marker }));
        Ok(Exit::Done)
    }
}
