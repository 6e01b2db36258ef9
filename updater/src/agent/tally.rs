//! What this life of the agent has seen: numbers for others to read while it works, never for its own decisions.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

/// Counters of one life. Reading them never holds the agent up.
#[derive(Debug, Default)]
pub struct Tally {
    refresh: Mutex<Refreshes>,
    downloaded: AtomicU64,
}

/// How asking the repository went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshes {
    /// The last time that it gave something that can be trusted.
    pub succeeded: Option<Timestamp>,
    /// Whether that was the last time of all; `None`: it was not asked yet.
    pub ok: Option<bool>,
    /// How often it did not.
    pub failures: u64,
}

impl Tally {
    /// How asking the repository went.
    pub fn refreshes(&self) -> Refreshes {
        self.refresh.lock().map(|refresh| refresh.clone()).unwrap_or_default()
    }

    /// Bytes of artifacts that were downloaded.
    pub fn downloaded(&self) -> u64 {
        self.downloaded.load(Ordering::Relaxed)
    }

    pub(super) fn refreshed(&self, at: Timestamp, ok: bool) {
        // Nothing that holds it can panic.
        if let Ok(mut refresh) = self.refresh.lock() {
            refresh.ok = Some(ok);
            if ok {
                refresh.succeeded = Some(at);
            } else {
                refresh.failures += 1;
            }
        }
    }

    pub(super) fn received(&self, bytes: u64) {
        self.downloaded.fetch_add(bytes, Ordering::Relaxed);
    }
}
