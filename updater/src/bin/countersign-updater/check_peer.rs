//! `check-peer`: whether another node runs a registered, unrevoked release, by what this node verified itself.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::peer::{self, PeerError, Standing};
use countersign_updater::trust_store;
use jiff::Timestamp;
use reqwest::Url;
use serde_json::json;

use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater check-peer http://10.0.0.7:9120 --node /srv/examplenode
      ask that node's /node/version, and judge the answer by this node's own verified metadata
  countersign-updater check-peer https://peer.example.org/status/version --node /srv/examplenode --json

The exit code is 0 if the peer names a registered release that is not revoked, and 1 if it is unknown or revoked. An older one than
runs here is 0 too: its standing is `older`. A peer says what it likes: this tells honest nodes apart, it proves nothing.";

/// Ask another node which release it runs, and judge the answer
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The peer's address, or that of its /node/version (http or https)
    url: Url,
    /// This node's directory
    #[arg(long)]
    node: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        if !matches!(self.url.scheme(), "http" | "https") {
            return Err(Failure::new(
                Exit::Usage,
                "a peer's address begins with http:// or https://",
            ));
        }
        let (home, config) = tell::open_with_config(&self.node)?;
        let running = tell::running(&home)?;
        let releases = trust_store::kept_releases(&home, &config, Timestamp::now())
            .map_err(|error| tell::trust(&error))?;
        let claim = peer::ask(&self.url).map_err(|error| failure(&error))?;
        let verdict = peer::judge(&claim, &config.product, &releases, &running.version);
        let standing = match verdict.standing {
            Standing::Registered => "registered",
            Standing::Older => "older",
            Standing::Revoked => "revoked",
            Standing::Unknown => "unknown",
        };
        out.say(format!("{} says {} {}", self.url, claim.product, claim.version));
        out.say(format!("{standing}: {}", verdict.reason));
        out.json(&json!({
            "url": self.url.as_str(), "claim": claim,
            "standing": verdict.standing, "reason": verdict.reason,
        }));
        Ok(match verdict.standing {
            Standing::Registered | Standing::Older => Exit::Done,
            Standing::Revoked | Standing::Unknown => Exit::Verdict,
        })
    }
}

fn failure(error: &PeerError) -> Failure {
    let (exit, hint) = match error {
        PeerError::Unreachable { .. } | PeerError::Status { .. } => (
            Exit::Network,
            "check the address: the peer's agent answers where [status] listen says, and `countersign-updater serve` does too",
        ),
        PeerError::TooLong(_) | PeerError::Malformed { .. } => {
            (Exit::Untrusted, "whatever answers there is no node of this kind")
        }
    };
    Failure::caused(exit, "the peer cannot be judged", error).hint(hint)
}
