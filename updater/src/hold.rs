//! The hold-off: one draw from the node's secret seed and the release's digest, kept as an absolute instant.
//!
//! The draw is a function of seed and digest, so nothing can re-roll it; the instant is journalled, so that a
//! restart cannot shorten it; within a boot the boot clock counts, so that setting the wall clock cannot either.

use std::time::Duration;

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;
use serde::{Deserialize, Serialize};

use crate::config::Window;
use crate::home::Seed;
use crate::machine::Moment;

/// Keeps this draw apart from anything else that may one day be drawn from the seed.
const PURPOSE: &[u8] = b"countersign hold-off v1";

/// A hold-off that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What was drawn, in milliseconds.
    pub delay_ms: u64,
    /// The release is not swapped in before.
    pub not_before: Moment,
}

impl Hold {
    /// Draws for one release, counting from `now`.
    pub fn draw(seed: &Seed, artifact: &Sha256, window: Window, now: &Moment) -> Self {
        let delay = draw(seed.as_bytes(), artifact, window);
        Self {
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            not_before: now.after(delay),
        }
    }
}

/// A delay within the window, both ends included, every millisecond as likely as any other.
fn draw(seed: &[u8; 32], artifact: &Sha256, window: Window) -> Duration {
    let width = u64::try_from((window.max - window.min).as_millis()).unwrap_or(u64::MAX - 1);
    let choices = width.saturating_add(1);
    // The largest multiple of `choices` that fits: what lies above it would favour small results by modulo.
    let fair = u64::MAX - u64::MAX % choices;
    let mut round = 0u64;
    loop {
        let mut hasher = Hasher::default();
        for part in [PURPOSE, seed, artifact.as_bytes(), &round.to_be_bytes()] {
            hasher.update(part);
        }
        let (digest, _) = hasher.finish();
        let drawn = digest.as_bytes()[..8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        if drawn < fair {
            return window.min + Duration::from_millis(drawn % choices);
        }
        round += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(min: u64, max: u64) -> Window {
        Window { min: Duration::from_millis(min), max: Duration::from_millis(max) }
    }

    fn seed(node: u64) -> [u8; 32] {
        *Sha256::of(&node.to_be_bytes()).as_bytes()
    }

    #[test]
    fn ten_thousand_nodes_spread_evenly_over_the_window() {
        let release = Sha256::of(b"release");
        let (bins, nodes) = (50usize, 10_000u64);
        let window = window(3_600_000, 3_600_000 + 86_399_999);
        let mut counts = vec![0f64; bins];
        for node in 0..nodes {
            let delay = draw(&seed(node), &release, window);
            assert!(delay >= window.min && delay <= window.max);
            let into = (delay - window.min).as_millis() as usize;
            counts[into * bins / 86_400_000] += 1.0;
        }
        let expected = nodes as f64 / bins as f64;
        let chi: f64 = counts.iter().map(|n| (n - expected).powi(2) / expected).sum();
        // 49 degrees of freedom: 99.9 % of fair draws stay below 85.4, 0.1 % below 23.98.
        assert!((23.9..85.4).contains(&chi), "chi-square {chi}");
    }

    #[test]
    fn a_draw_is_the_same_for_ever_and_another_for_another_release_or_node() {
        let window = window(0, 86_400_000);
        let first = draw(&seed(1), &Sha256::of(b"a"), window);
        assert_eq!(first, draw(&seed(1), &Sha256::of(b"a"), window));
        assert_ne!(first, draw(&seed(1), &Sha256::of(b"b"), window));
        assert_ne!(first, draw(&seed(2), &Sha256::of(b"a"), window));
    }

    #[test]
    fn both_ends_of_a_narrow_window_are_drawn_and_nothing_else() {
        let mut seen = std::collections::BTreeSet::new();
        for node in 0..200 {
            seen.insert(draw(&seed(node), &Sha256::of(b"a"), window(5, 7)).as_millis());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [5, 6, 7]);
        assert_eq!(draw(&seed(1), &Sha256::of(b"a"), window(9, 9)).as_millis(), 9);
    }
}
