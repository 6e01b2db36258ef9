//! An instant on two clocks: the wall, which people read and others may set, and the boot clock, which only runs.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// An instant. Within one boot the boot clock decides; across boots only the wall clock is left, and the time since
/// the boot bounds it: a deadline carries the length of its wait, and whoever has been up for that long has waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// UTC.
    pub wall: Timestamp,
    /// The kernel's boot id.
    pub boot: String,
    /// Milliseconds since that boot, suspended time included.
    pub boot_ms: u64,
    /// Of a deadline: the length of the wait in milliseconds. A wall clock that was set back may let the wait begin
    /// again with a boot, and can make it no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    within_ms: Option<u64>,
}

impl Moment {
    /// The instant `wall`, `boot_ms` milliseconds after the boot `boot`.
    pub fn new(wall: Timestamp, boot: &str, boot_ms: u64) -> Self {
        Self { wall, boot: boot.to_owned(), boot_ms, within_ms: None }
    }

    /// The instant `delay` later, on both clocks. A wall clock at its end stays there.
    #[must_use]
    pub fn after(&self, delay: Duration) -> Self {
        let signed = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        Self {
            wall: self.wall.checked_add(signed).unwrap_or(Timestamp::MAX),
            boot: self.boot.clone(),
            boot_ms: self.boot_ms.saturating_add(millis(delay)),
            within_ms: Some(self.within_ms.unwrap_or(0).saturating_add(millis(delay))),
        }
    }

    /// This deadline, of which `left` is left `now`, on the clock of the boot that runs now. What is past stays past, and
    /// was so when a later boot began.
    #[must_use]
    pub fn carried(&self, left: Duration, now: &Self) -> Self {
        match (left, self.boot == now.boot) {
            (Duration::ZERO, true) => self.clone(),
            (Duration::ZERO, false) => Self { boot: now.boot.clone(), boot_ms: 0, ..self.clone() },
            (left, _) => now.after(left),
        }
    }

    /// The same instant of the boot, with another reading of the wall clock.
    #[must_use]
    pub fn at_wall(&self, wall: Timestamp) -> Self {
        Self { wall, ..self.clone() }
    }

    /// The instant `by` earlier, on both clocks; not before its boot.
    #[must_use]
    pub fn earlier(&self, by: Duration) -> Self {
        let signed = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        Self {
            wall: self.wall.checked_sub(signed).unwrap_or(Timestamp::MIN),
            boot: self.boot.clone(),
            boot_ms: self.boot_ms.saturating_sub(millis(by)),
            within_ms: self.within_ms.map(|within| within.saturating_sub(millis(by))),
        }
    }

    /// By how much the wall clock was set since `earlier`, in the same boot; zero over a reboot.
    pub fn set_since(&self, earlier: &Self) -> Duration {
        if self.boot != earlier.boot {
            return Duration::ZERO;
        }
        let wall = self.wall.duration_since(earlier.wall);
        let boot = SignedDuration::try_from(self.since(earlier)).unwrap_or(SignedDuration::MAX);
        wall.saturating_sub(boot).unsigned_abs()
    }

    /// How long it is since `earlier`: by the boot clock, over a reboot by the wall clock and by no less than the time
    /// since that reboot.
    pub fn since(&self, earlier: &Self) -> Duration {
        if self.boot == earlier.boot {
            return Duration::from_millis(self.boot_ms.saturating_sub(earlier.boot_ms));
        }
        let wall =
            Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or(Duration::ZERO);
        wall.max(Duration::from_millis(self.boot_ms))
    }

    /// How long until `later`; zero if it is past. Setting the wall clock changes nothing within a boot.
    pub fn until(&self, later: &Self) -> Duration {
        if self.boot == later.boot {
            return Duration::from_millis(later.boot_ms.saturating_sub(self.boot_ms));
        }
        let wall =
            Duration::try_from(later.wall.duration_since(self.wall)).unwrap_or(Duration::ZERO);
        // The wait began before this boot, so at least the time since then has passed of it.
        let left =
            later.within_ms.map(|all| Duration::from_millis(all.saturating_sub(self.boot_ms)));
        left.map_or(wall, |left| wall.min(left))
    }

    /// Whether `deadline` has come.
    pub fn reached(&self, deadline: &Self) -> bool {
        self.until(deadline).is_zero()
    }
}

impl fmt::Display for Moment {
    /// The wall clock, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wall.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, boot: &str, boot_ms: u64) -> Moment {
        Moment::new(Timestamp::from_second(wall).unwrap(), boot, boot_ms)
    }

    #[test]
    fn a_wall_clock_that_jumps_moves_no_deadline_within_a_boot() {
        let deadline = at(1000, "a", 5_000).after(Duration::from_secs(60));
        assert!(!at(9_999_999, "a", 64_999).reached(&deadline));
        assert!(at(0, "a", 65_000).reached(&deadline));
    }

    #[test]
    fn after_a_reboot_the_wall_clock_counts() {
        let deadline = at(1000, "a", 5_000).after(Duration::from_secs(60));
        assert!(!at(1059, "b", 59_999).reached(&deadline));
        assert!(at(1060, "b", 1).reached(&deadline));
    }

    #[test]
    fn a_wall_clock_set_back_over_a_reboot_makes_no_wait_longer_than_itself() {
        let deadline = at(2_000_000_000, "a", 5_000).after(Duration::from_secs(60));
        assert_eq!(at(0, "b", 1_000).until(&deadline), Duration::from_secs(59));
        assert!(!at(58, "b", 59_000).reached(&deadline));
        assert!(at(59, "b", 60_000).reached(&deadline));
        let written = serde_json::to_string(&deadline).unwrap();
        assert_eq!(serde_json::from_str::<Moment>(&written).unwrap(), deadline);
        let old = r#"{"wall":"2026-01-01T00:00:00Z","boot":"a","boot_ms":1}"#;
        assert!(!at(0, "b", u64::MAX).reached(&serde_json::from_str(old).unwrap()));
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let far = at(1000, "a", 5_000).after(Duration::MAX);
        assert!(!at(2000, "a", 6_000).reached(&far));
        assert!(!at(2000, "b", 6_000).reached(&far));
    }
}
