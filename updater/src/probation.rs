//! Watching a new version: its health and readiness, asked again and again, and how long they have been bad.

use std::time::{Duration, Instant};

use crate::generation::Generation;
use crate::machine::facts::Health;
use crate::supervise::probe;

/// One probe may take this long.
const TRY: Duration = Duration::from_secs(2);

/// Remembers since when the answers are bad. A new process begins anew: it was not there to see. So does every start
/// of a version and every swap.
#[derive(Debug, Default)]
pub struct Watch {
    bad_since: Option<Instant>,
    unready_since: Option<Instant>,
}

impl Watch {
    /// Asks a node that is up, once. A release without a health probe is as healthy as it runs.
    pub fn ask(&mut self, generation: &Generation) -> Health {
        self.unready_since = None;
        let Some(health) = &generation.launch.health else { return Health::Good };
        let Some(address) = generation.launch.address(&health.listen) else { return Health::Good };
        match probe::http(address, &health.path, TRY) {
            Ok(()) => {
                self.bad_since = None;
                Health::Good
            }
            Err(reason) => {
                let lasting = self.bad_since.get_or_insert_with(Instant::now).elapsed();
                Health::Bad { lasting, reason }
            }
        }
    }

    /// The node is not up: for how long it has not been.
    pub fn unready(&mut self) -> Duration {
        // Whoever is not up is not asked: answers from before it went down say nothing about after.
        self.bad_since = None;
        self.unready_since.get_or_insert_with(Instant::now).elapsed()
    }
}
