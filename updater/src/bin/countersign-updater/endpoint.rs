//! The agent's own pages: `/node/version`, `/health`, `/status`, `/metrics`. They read, and never hold the agent up.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_updater::agent::Tally;
use countersign_updater::http::{self, Answer, Body, Limits, Request};
use countersign_updater::supervise::Phase;
use countersign_updater::{Config, Home, peer};
use serde_json::{Value, json};

use crate::status::View;
use crate::{metrics, serve};

/// Whoever asks more often gets the same answer again.
const FRESH: Duration = Duration::from_secs(1);

/// Connections at a time: people and monitoring of one machine.
const CONNECTIONS: usize = 8;

/// Answers where the configuration says, from threads of its own. An address that cannot be had is told and keeps no
/// update up.
pub(crate) fn start(home: &Home, tally: &Arc<Tally>, say: &dyn Fn(&str)) {
    let Ok(config) = Config::load(home) else { return }; // The agent says what is wrong with it.
    let Some(address) = config.status else { return };
    let limits = Limits { connections: CONNECTIONS, ..Limits::default() };
    let pages = Pages {
        home: home.clone(),
        config,
        node: home.path().to_owned(),
        tally: Arc::clone(tally),
        last: Mutex::default(),
    };
    let started = TcpListener::bind(address).and_then(|listener| {
        http::serve(listener, limits, Arc::new(move |r: &Request| pages.get(r)))
    });
    match started {
        Ok(address) => say(&format!("status at http://{address}/status")),
        Err(error) => say(&format!("no status page: cannot listen on {address}: {error}")),
    }
}

struct Pages {
    home: Home,
    config: Config,
    node: PathBuf,
    tally: Arc<Tally>,
    last: Mutex<Option<(Instant, Arc<Shown>)>>,
}

/// One look, written down.
struct Shown {
    status: Value,
    health: (u16, Value),
    metrics: String,
}

impl Pages {
    fn get(&self, request: &Request) -> Answer {
        let page = match request.path.as_str() {
            "/" => return Answer::text(200, "/node/version  /health  /status  /metrics"),
            peer::PATH => return serve::version(&self.home, &self.config),
            page @ ("/health" | "/status" | "/metrics") => page,
            _ => return Answer::not_found(),
        };
        let shown = match self.look() {
            Ok(shown) => shown,
            Err(reason) => return Answer::json(503, &json!({ "error": reason })),
        };
        match page {
            "/status" => Answer::json(200, &shown.status),
            "/health" => Answer::json(shown.health.0, &shown.health.1),
            _ => Answer::of(metrics::TYPE, Body::Bytes(shown.metrics.clone().into_bytes())),
        }
    }

    /// Looks again if the last look is old. Whoever asks meanwhile waits for that one look.
    fn look(&self) -> Result<Arc<Shown>, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, shown)) = &*last
            && when.elapsed() < FRESH
        {
            return Ok(Arc::clone(shown));
        }
        let view = View::look(&self.node).map_err(|failure| failure.sentence().to_owned())?;
        let metrics = metrics::text(&view, &self.tally).map_err(|error| error.to_string())?;
        let shown = Arc::new(Shown { status: view.to_json(), health: health(&view), metrics });
        *last = Some((Instant::now(), Arc::clone(&shown)));
        Ok(shown)
    }
}

/// Healthy: the node is ready, and this agent is there to say so.
fn health(view: &View) -> (u16, Value) {
    let (phase, reason) = match &view.supervisor {
        Ok(status) => (Some(status.phase), status.reason.clone()),
        Err(error) => (None, error.clone()),
    };
    let healthy = phase == Some(Phase::Ready);
    let status = if healthy { 200 } else { 503 };
    (status, json!({ "healthy": healthy, "node": phase, "reason": reason }))
}
