//! `refresh`: sign snapshot and timestamp anew, unattended, before they expire.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use serde_json::json;

use crate::mirror::To;
use crate::publish::Online;
use crate::repository::Repository;

/// Sign the timestamp anew, and the snapshot in the second half of its life
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    #[command(flatten)]
    online: Online,
    #[command(flatten)]
    to: To,
}

impl Args {
    pub(crate) fn run(mut self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let lock = repository.lock()?;
        let published = repository.must_be_published()?;
        let version = self.online.publish(&repository, &lock, Some(&published), Vec::new())?;
        out.say(format!("Signed anew: timestamp version {version}."));
        let copied = self.to.copy(&repository, &lock, out)?;
        out.json(&json!({
            "timestamp": version,
            "copied": copied.as_ref().map(|c| c.files), "guarded": copied.map(|c| c.guarded),
        }));
        Ok(Exit::Done)
    }
}
