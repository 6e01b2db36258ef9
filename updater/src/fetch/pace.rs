//! How fast a download may go: `fetch.rate`.

use std::time::{Duration, Instant};

/// Bytes are read in pieces of at most this size.
const CHUNK: usize = 256 << 10;
/// The smallest piece.
const SMALLEST: usize = 1 << 10;

/// Lets bytes pass at a rate.
pub(super) struct Pace {
    rate: Option<u64>,
    began: Instant,
    passed: u64,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, began: Instant::now(), passed: 0 }
    }

    /// How much to read at once: an eighth of a second's worth, so that the line is not taken in bursts.
    pub(super) fn chunk(&self) -> usize {
        let eighth = self.rate.map_or(CHUNK as u64, |rate| rate / 8);
        usize::try_from(eighth).unwrap_or(CHUNK).clamp(SMALLEST, CHUNK)
    }

    /// These bytes came. Returns when more may be asked for.
    pub(super) fn passed(&mut self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        self.passed += bytes;
        let due = Duration::from_secs_f64(self.passed as f64 / rate as f64);
        match due.checked_sub(self.began.elapsed()) {
            Some(early) => rest(early),
            // A line that was slow for a while does not earn a burst.
            None => (self.began, self.passed) = (Instant::now(), 0),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing is waited for: this is the rate")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}
