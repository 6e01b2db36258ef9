//! `serve`: hands on what this node verified, so that any node can be another's mirror.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_updater::generation::Generation;
use countersign_updater::http::{self, Answer, Body, Limits, Request};
use countersign_updater::peer::{self, Running};
use countersign_updater::shelf::Shelf;
use countersign_updater::{Config, Home};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater serve /srv/examplenode --listen 0.0.0.0:9121
      on another node: repositories = [\"https://releases.example.org/\", \"http://THIS-HOST:9121/\"]

Metadata, roots and verdicts are given exactly as they were downloaded. Artifacts are there if they were kept: [serve] keep = 2
in the configuration, before they are downloaded. Nothing is written, and whoever takes it verifies it, as from any mirror.
/node/version is answered too, for `countersign-updater check-peer`.";

/// Serve what this node verified, as a mirror for other nodes, until TERM or INT
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// Address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9121")]
    listen: SocketAddr,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let (home, config) = tell::open_with_config(&self.node)?;
        let shelf = Shelf::new(home.clone(), config.clone());
        let artifacts = shelf.artifacts().map_err(|error| tell::trust(&error))?;
        let mut signals =
            Signals::new([SIGTERM, SIGINT]).or_fail(Exit::Host, "cannot wait for signals")?;
        let failed = |error: std::io::Error| {
            Failure::caused(Exit::Host, format!("cannot listen on {}", self.listen), &error)
                .hint("choose another address with --listen; port 0 takes any free one")
        };
        let listener = TcpListener::bind(self.listen).map_err(failed)?;
        let node = home.path().to_owned();
        let handler = move |request: &Request| answer(&home, &config, &shelf, request);
        let address =
            http::serve(listener, Limits::default(), Arc::new(handler)).map_err(failed)?;
        let url = format!("http://{address}/");
        out.say(format!("Serving {} at {url} ({artifacts} artifacts)", node.display()));
        if artifacts == 0 {
            out.say("No artifact was kept: [serve] keep = 2 in the configuration keeps those that come.");
        }
        out.json(&json!({ "node": node, "url": url, "artifacts": artifacts }));
        let _told = signals.forever().next();
        Ok(Exit::Done)
    }
}

fn answer(home: &Home, config: &Config, shelf: &Shelf, request: &Request) -> Answer {
    if request.path == peer::PATH {
        return version(home, config);
    }
    match shelf.get(request.path.trim_start_matches('/')) {
        Ok(Some(body)) => {
            let kind = match &body {
                Body::Bytes(_) => "application/json",
                Body::File(..) => "application/octet-stream",
            };
            Answer::of(kind, body)
        }
        Ok(None) => Answer::not_found(),
        // The reason is for the operator, not for strangers.
        Err(_) => Answer::text(503, "nothing can be served just now"),
    }
}

/// What this node runs.
pub(crate) fn version(home: &Home, config: &Config) -> Answer {
    match Generation::current(home) {
        Ok(Some(running)) => Answer::json(200, &Running::new(&running, &config.platform)),
        _ => Answer::text(503, "nothing is known to run here"),
    }
}
