//! The hold-off: one draw from the node's secret seed and the release's digest, kept as an absolute instant.
//!
//! The draw is a function of seed and digest, so nothing can re-roll it; the instant is journalled, so that a
//! restart cannot shorten it; within a boot the boot clock counts, so that setting the wall clock cannot either. Over a
//! reboot only the wall clock is left: what it says has passed is taken off once, at the first look, and never less than
//! the new boot has lasted. A clock that stands earlier than it stood takes nothing off.
//!
//! Keyholders may move it (their [`Rollout`] is signed anew, the release stays): the same draw then falls into another
//! window, and the instant moves by the difference. A longer window only ever means a later instant.

use std::time::Duration;

use countersign_metadata::digest::Hasher;
use countersign_metadata::{Rollout, Sha256};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::Window;
use crate::home::Seed;
use crate::machine::Moment;

/// Keeps this draw apart from anything else that may one day be drawn from the seed.
const PURPOSE: &[u8] = b"countersign hold-off v1";

/// By so much the wall clock may run astray before its part is reckoned anew.
const SET: Duration = Duration::from_secs(10);

/// So often what has passed is kept, for machines whose wall clock cannot be believed after a reboot.
const EVERY: Duration = Duration::from_hours(6);

/// What a hold-off is drawn by: the operator's window as keyholders may change it, and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    window: Window,
    rollout: Rollout,
}

impl Terms {
    /// The operator's window, made longer where the keyholders ask for that, or shorter where the release is urgent:
    /// then down to `floor`, the operator's own; without a floor it is never shorter.
    pub fn new(delay: Window, floor: Option<Duration>, urgent: bool, rollout: &Rollout) -> Self {
        let floor = floor.filter(|_| urgent).map_or(delay.max, |floor| floor.min(delay.max));
        let asked = rollout.window_seconds.map(Duration::from_secs);
        let max = asked.map_or(floor, |asked| asked.max(floor));
        // That a release is cancelled decides whether it is taken, not when.
        let rollout = Rollout { cancelled: None, ..rollout.clone() };
        Self { window: Window { min: delay.min.min(max), max }, rollout }
    }
}

/// A hold-off that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What was drawn, in milliseconds.
    pub delay_ms: u64,
    /// The end of the node's own delay.
    pub not_before: Moment,
    /// What the keyholders said when this was last reckoned.
    #[serde(default, skip_serializing_if = "Rollout::is_empty")]
    pub rollout: Rollout,
    /// Their own not-before, on this machine's clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyholders: Option<Moment>,
    /// When this was last reckoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reckoned: Option<Reckoned>,
}

/// When a hold-off was last reckoned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reckoned {
    /// By the clocks as they stood.
    pub at: Moment,
    /// The latest that the wall clock may really have been then, by all that it ever showed: so that setting it back and,
    /// over a reboot, right again does not pass for time.
    pub latest: Timestamp,
}

impl Reckoned {
    fn next(before: Option<&Self>, now: &Moment) -> Self {
        let steady = before.map_or(now.wall, |before| {
            let passed =
                SignedDuration::try_from(before.passed(now)).unwrap_or(SignedDuration::MAX);
            before.latest.checked_add(passed).unwrap_or(Timestamp::MAX)
        });
        Self { at: now.clone(), latest: steady.max(now.wall) }
    }

    /// How much time has passed since, for sure.
    fn passed(&self, now: &Moment) -> Duration {
        now.since(&self.at.at_wall(self.latest))
    }
}

impl Hold {
    /// Draws for one release, counting from `now`.
    fn draw(seed: &Seed, artifact: &Sha256, terms: &Terms, now: &Moment) -> Self {
        let delay = draw(seed.as_bytes(), artifact, terms.window);
        Self {
            delay_ms: millis(delay),
            not_before: now.after(delay),
            rollout: terms.rollout.clone(),
            keyholders: on_our_clocks(&terms.rollout, now),
            reckoned: Some(Reckoned::next(None, now)),
        }
    }

    /// The hold-off under the terms that count now, on the clock of the boot that runs now: drawn, or reckoned anew.
    pub fn settle(
        before: Option<&Self>,
        seed: &Seed,
        artifact: &Sha256,
        terms: &Terms,
        now: &Moment,
    ) -> Self {
        let Some(before) = before else { return Self::draw(seed, artifact, terms, now) };
        let mut next = before.clone();
        if next.rollout != terms.rollout {
            let (drawn, delay) = (next.delay(), draw(seed.as_bytes(), artifact, terms.window));
            next.not_before = match delay.checked_sub(drawn) {
                Some(later) => next.not_before.after(later),
                None => next.not_before.earlier(drawn - delay),
            };
            next.delay_ms = millis(delay);
            next.rollout = terms.rollout.clone();
            next.keyholders = None;
        }
        let theirs = next.keyholders.take().map(|end| next.carried(&end, now));
        next.keyholders = theirs.or_else(|| on_our_clocks(&terms.rollout, now));
        next.not_before = next.carried(&next.not_before, now);
        next.reckoned = Some(Reckoned::next(before.reckoned.as_ref(), now));
        next
    }

    /// Why it has to be reckoned anew, if it has to.
    pub fn outdated(&self, terms: &Terms, now: &Moment) -> Option<&'static str> {
        if self.rollout != terms.rollout {
            return Some("its keyholders say anew when nodes take it");
        }
        let same = |reckoned: &&Reckoned| reckoned.at.boot == now.boot;
        let Some(Reckoned { at, .. }) = self.reckoned.as_ref().filter(same) else {
            return Some(
                "the machine was restarted: what is left of the delay goes onto its clock",
            );
        };
        if self.is_over(now) {
            return None;
        }
        if now.set_since(at) >= SET {
            return Some("the wall clock was set: what is left of the delay stays what it was");
        }
        (now.since(at) >= EVERY).then_some("what has passed of the delay is kept")
    }

    /// One of its ends, on the clock of the boot that runs now.
    fn carried(&self, end: &Moment, now: &Moment) -> Moment {
        let left = match &self.reckoned {
            Some(reckoned) if reckoned.at.boot != now.boot => {
                reckoned.at.until(end).saturating_sub(reckoned.passed(now))
            }
            _ => now.until(end),
        };
        end.carried(left, now)
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// The instant before which the release is not swapped in: the node's own, or the keyholders' where that is later.
    pub fn end(&self, now: &Moment) -> &Moment {
        match &self.keyholders {
            Some(theirs) if now.until(theirs) > now.until(&self.not_before) => theirs,
            _ => &self.not_before,
        }
    }

    /// Whether it is over.
    pub fn is_over(&self, now: &Moment) -> bool {
        now.reached(self.end(now))
    }
}

fn on_our_clocks(rollout: &Rollout, now: &Moment) -> Option<Moment> {
    let instant = rollout.not_before?;
    let left = Duration::try_from(instant.duration_since(now.wall)).unwrap_or(Duration::ZERO);
    Some(now.after(left))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A delay within the window, both ends included: 64 drawn bits, stretched over it. No millisecond of a year is more
/// likely than another by as much as one in a hundred million, and a wider window gives no node an earlier instant.
fn draw(seed: &[u8; 32], artifact: &Sha256, window: Window) -> Duration {
    let mut hasher = Hasher::default();
    for part in [PURPOSE, seed, artifact.as_bytes()] {
        hasher.update(part);
    }
    let (digest, _) = hasher.finish();
    let drawn = digest.as_bytes()[..8].iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
    let choices = (window.max - window.min).as_millis().min(u128::from(u64::MAX)) + 1;
    window.min + Duration::from_millis(u64::try_from((drawn * choices) >> 64).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
