//! `lock`: resolve the recipe and write the lock.

use std::path::PathBuf;

use countersign_builder::lock::Lock;
use countersign_builder::prepare;
use countersign_console::{Exit, Failure, Out, Progress};
use serde_json::json;

use crate::build::Stores;

/// Resolve the recipe and write countersign.lock
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  countersign-builder lock . && git add countersign.lock")]
pub(super) struct Args {
    /// The directory that holds countersign.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    stores: Stores,
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let progress = Progress::spinner("resolving");
        let (cache, inputs) = self.stores.open(Vec::new())?;
        let before = Lock::read(&self.dir).ok();
        let (lock, tamed) =
            prepare::resolve(&self.dir, &inputs, &cache, &|step| progress.now(step))
                .map_err(|e| crate::fail::prepare("nothing was locked", e))?;
        let path = lock
            .write(&self.dir)
            .map_err(|e| crate::fail::prepare("nothing was locked", e.into()))?;
        drop(progress);
        let environment = &lock.spec.environment;
        let changed = before.is_none_or(|before| before.sha256() != lock.sha256());
        out.say(format!("{} {}", if changed { "wrote" } else { "unchanged:" }, path.display()));
        out.say(format!(
            "environment {} ({}) from {} parts, {} inputs",
            environment.sha256.short(),
            environment.kind.name(),
            environment.parts.len(),
            lock.spec.inputs.len()
        ));
        if !tamed.is_empty() {
            out.say(format!(
                "note: set-uid and set-gid bits of the environment's files were dropped: {}",
                tamed.join(", ")
            ));
        }
        out.json(&json!({
            "lock": path,
            "sha256": lock.sha256(),
            "changed": changed,
            "environment": environment,
            "inputs": lock.spec.inputs,
            "set-uid-dropped": tamed,
        }));
        Ok(Exit::Done)
    }
}
