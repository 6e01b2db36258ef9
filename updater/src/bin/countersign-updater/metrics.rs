//! `/metrics`: what a node's monitoring wants to know, in the text format of Prometheus and OpenMetrics.

use std::fmt;
use std::sync::atomic::AtomicU64;

use countersign_updater::agent::Tally;
use countersign_updater::durable;
use countersign_updater::supervise::Phase;
use countersign_updater::trust_store;
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::status::View;

/// The media type.
pub(crate) const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;

const STATES: [&str; 13] = [
    "Idle",
    "Announced",
    "Staged",
    "Shadowed",
    "Held",
    "Leased",
    "Stopped",
    "Snapshotted",
    "Migrated",
    "Switched",
    "Probation",
    "Committed",
    "RolledBack",
];

/// Everything as one page.
pub(crate) fn text(view: &View, tally: &Tally) -> Result<String, fmt::Error> {
    let mut page = Page(Registry::with_prefix("countersign"));
    page.releases(view);
    page.node(view);
    page.refreshes(view, tally);
    let verdicts = [("cleared", view.tried[0]), ("refused", view.tried[1])];
    let counters = Family::<Labels, Counter>::default();
    for (verdict, count) in verdicts {
        counters.get_or_create(&vec![("verdict", verdict.to_owned())]).inc_by(count);
    }
    let help = "Releases that were tried in the shadow, by the journal";
    page.0.register("shadow_verdicts", help, counters);
    if let Some(length) = backups_waiting(view) {
        page.number("backup_queue_length", "Snapshots that wait for the off-machine store", length);
    }
    let mut text = String::new();
    encode(&mut text, &page.0)?;
    Ok(text)
}

struct Page(Registry);

impl Page {
    fn number(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Number::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    fn numbers(&mut self, name: &str, help: &str, all: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Number>::default();
        for (labels, value) in all {
            family.get_or_create(&labels).set(value);
        }
        self.0.register(name, help, family);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    fn releases(&mut self, view: &View) {
        let ledger = &view.ledger;
        let updater = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        self.0.register("updater", "This program", updater);
        let running = &view.running;
        let labels = vec![
            ("product", running.product.to_string()),
            ("version", running.version.to_string()),
            ("digest", running.binary.to_string()),
        ];
        self.0.register("node", "What `current` names", Info::new(labels));
        if let Some(candidate) = ledger.state.candidate().filter(|_| !ledger.state.is_rest()) {
            let labels = vec![
                ("version", candidate.version.to_string()),
                ("digest", candidate.artifact.to_string()),
            ];
            self.0.register("candidate", "The release that is under way", Info::new(labels));
        }
        self.number("generation", "The generation that `current` names", running.number as f64);
        let now = ledger.state.name();
        let states = STATES
            .map(|state| (vec![("state", state.to_owned())], f64::from(u8::from(state == now))));
        self.numbers("updater_state", "1 for the state that the updater rests in", states);
        if let Some(instant) = view.not_before() {
            let help = "When the hold-off ends, in seconds after 1970";
            self.number("held_until_timestamp_seconds", help, seconds(instant));
        }
        let attempts = ledger.attempts.iter();
        let attempts = attempts.map(|(artifact, tried)| {
            (vec![("digest", artifact.to_string())], f64::from(tried.count))
        });
        self.numbers("release_attempts", "Failed tries that no release is to blame for", attempts);
        self.number(
            "known_bad_releases",
            "Releases that are never tried again",
            ledger.bad.len() as f64,
        );
        let stuck = ledger.trouble.as_ref().map_or(0, |trouble| trouble.count);
        self.number(
            "step_failures",
            "How often in a row the present step failed",
            f64::from(stuck),
        );
    }

    fn node(&mut self, view: &View) {
        let status = view.supervisor.as_ref().ok();
        let up = f64::from(u8::from(status.is_some()));
        self.number("supervisor_up", "Whether the supervisor answers", up);
        let Some(status) = status else { return };
        let ready = f64::from(u8::from(status.phase == Phase::Ready));
        self.number("node_ready", "Whether the node is ready", ready);
        self.number(
            "node_crashes",
            "Unexpected exits of this generation",
            f64::from(status.crashes),
        );
        if let Some(since) = status.since {
            let help = "When the node's process was started, in seconds after 1970";
            self.number("node_start_timestamp_seconds", help, seconds(since));
        }
    }

    fn refreshes(&mut self, view: &View, tally: &Tally) {
        let refreshes = tally.refreshes();
        if let Some(ok) = refreshes.ok {
            let help =
                "Whether the repository gave something that can be trusted when it was last asked";
            self.number("refresh_ok", help, f64::from(u8::from(ok)));
        }
        if let Some(at) = refreshes.succeeded {
            let help = "When the repository last did, in seconds after 1970";
            self.number("refresh_success_timestamp_seconds", help, seconds(at));
        }
        self.counter(
            "refresh_failures",
            "How often it did not, in this life of the agent",
            refreshes.failures,
        );
        let help = "Bytes of artifacts that were downloaded in this life of the agent";
        self.counter("downloaded_bytes", help, tally.downloaded());
        let now = Timestamp::now();
        let roles =
            trust_store::expiries(&view.home, &view.config.product, now).unwrap_or_default();
        let left = roles.into_iter().map(|role| {
            let left = role.expires.duration_since(now).as_secs_f64();
            (vec![("role", role.role)], left)
        });
        self.numbers(
            "metadata_expiry_seconds",
            "How long the trusted metadata is valid still",
            left,
        );
    }
}

fn seconds(instant: Timestamp) -> f64 {
    instant.as_millisecond() as f64 / 1000.0
}

/// The length of the queue in `NODE/backup.json`, where there is one.
fn backups_waiting(view: &View) -> Option<f64> {
    let bytes = durable::read(&view.home.path().join("backup.json"), 1 << 20).ok()??;
    let queue: Value = serde_json::from_slice(&bytes).ok()?;
    Some(queue.get("waiting")?.as_array()?.len() as f64)
}
