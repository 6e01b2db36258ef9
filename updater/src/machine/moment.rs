//! An instant on two clocks: the wall, which people read and others may set, and the boot clock, which only runs.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// An instant. Within one boot the boot clock decides; across boots only the wall clock is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// UTC.
    pub wall: Timestamp,
    /// The kernel's boot id.
    pub boot: String,
    /// Milliseconds since that boot, suspended time included.
    pub boot_ms: u64,
}

impl Moment {
    /// The instant `delay` later, on both clocks. A wall clock at its end stays there.
    #[must_use]
    pub fn after(&self, delay: Duration) -> Self {
        let signed = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        Self {
            wall: self.wall.checked_add(signed).unwrap_or(Timestamp::MAX),
            boot: self.boot.clone(),
            boot_ms: self.boot_ms.saturating_add(millis(delay)),
        }
    }

    /// How long until `later`; zero if it is past. Setting the wall clock changes nothing within a boot.
    pub fn until(&self, later: &Self) -> Duration {
        if self.boot == later.boot {
            return Duration::from_millis(later.boot_ms.saturating_sub(self.boot_ms));
        }
        Duration::try_from(later.wall.duration_since(self.wall)).unwrap_or(Duration::ZERO)
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
        Moment { wall: Timestamp::from_second(wall).unwrap(), boot: boot.into(), boot_ms }
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
        assert!(!at(1059, "b", 999_999).reached(&deadline));
        assert!(at(1060, "b", 1).reached(&deadline));
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let far = at(1000, "a", 5_000).after(Duration::MAX);
        assert!(!at(2000, "a", 6_000).reached(&far));
        assert!(!at(2000, "b", 6_000).reached(&far));
    }
}
