//! `export`: what is locked, as a root tree for a container.

use std::path::PathBuf;

use countersign_builder::{export, prepare};
use countersign_console::{Exit, Failure, Out, Progress};
use serde_json::json;

use crate::build::Stores;

/// Lay environment, source and inputs out as a root tree
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  countersign-builder lock . && countersign-builder export . -o /tmp/context
  buildah build --isolation chroot -f Dockerfile /tmp/context    # or: docker build")]
pub(super) struct Args {
    /// The directory that holds countersign.toml and countersign.lock
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where `root` is written
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    stores: Stores,
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let progress = Progress::spinner("preparing");
        let now = |step: &str| progress.now(step);
        let (cache, inputs) = self.stores.open(Vec::new())?;
        let prepared = prepare::own(&self.dir, Some(&self.output), &inputs, &cache, &now)
            .map_err(|e| crate::fail::prepare("nothing was exported", e))?;
        let root =
            export::export(&prepared, &self.output, &now).map_err(|e| crate::fail::export(&e))?;
        drop(progress);
        let environment = prepared.environment.identity();
        out.say(format!("wrote {}", root.display()));
        out.say(format!("environment sha256:{}", environment.sha256));
        out.json(&json!({ "root": root, "environment": environment }));
        Ok(Exit::Done)
    }
}
