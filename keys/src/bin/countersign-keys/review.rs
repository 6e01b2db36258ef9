//! `review`: what a request asks for, proven and in words.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_keys::review::review_each;

use crate::input::{pinned, refused, request};

const EXAMPLES: &str = "\
Examples:
  countersign-keys review --key alice.key node.request.json
  countersign-keys review --root 1.root.json node.request.json
  countersign-keys review --json --root 1.root.json < node.request.json

Needs no network and no secret: the request carries the chain that it is proven by.";

/// Explain a signing request, judged from the pinned root
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The root to judge from
    #[arg(long, value_name = "ROOT.json")]
    root: Option<PathBuf>,
    /// Judge from the root pinned beside this key; the key itself is not read
    #[arg(long, value_name = "NAME.key", env = "COUNTERSIGN_KEY")]
    key: Option<PathBuf>,
    /// The request; standard input when absent or `-`
    request: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let request = request(self.request.as_deref())?;
        let pinned = pinned(self.root.as_deref(), self.key.as_deref())?;
        let reviewed = review_each(&request, pinned.as_ref()).map_err(refused)?;
        out.say(reviewed.words(jiff::Timestamp::now()));
        out.json(&reviewed);
        Ok(Exit::Done)
    }
}
