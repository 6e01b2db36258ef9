//! `platform`: the name of this machine's platform.

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::Platform;
use serde_json::json;

/// Print this machine's platform
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let platform = Platform::here();
        out.say(&platform);
        out.json(&json!({ "platform": platform }));
        Ok(Exit::Done)
    }
}
