//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Longest wait before a test fails. Generous: a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is there.
///
/// # Panics
/// It never came; `what` says what was waited for.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
