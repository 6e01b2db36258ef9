//! The wall clock that the payload sees: arithmetic between its time and the kernel's.

use std::io;

use libc::{CLOCK_REALTIME, CLOCK_REALTIME_ALARM, CLOCK_REALTIME_COARSE, CLOCK_TAI, clockid_t};
use nix::time::{ClockId, clock_gettime};

use crate::Clock;

/// The clocks of the kernel that show wall time.
pub(super) const CLOCKS: [clockid_t; 4] =
    [CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_REALTIME_ALARM, CLOCK_TAI];

/// Nanoseconds since 1970, or between two moments. Wide enough for every `timespec`.
pub(super) type Nanos = i128;

/// Nanoseconds in a second.
pub(super) const SECOND: Nanos = 1_000_000_000;

/// The clock of one payload.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wall {
    /// The real time plus this.
    Moved(Nanos),
    /// `from` at the start, when the monotonic clock was at `since`. A step of the real clock is
    /// not seen. TAI is shown equal to UTC, as on a machine that was never told of leap seconds.
    Started { from: Nanos, since: Nanos },
}

impl Wall {
    /// The clock from now on; `None` if it is the real one.
    pub(super) fn start(clock: Clock) -> io::Result<Option<Self>> {
        Ok(match clock {
            Clock::Real => None,
            Clock::Offset(seconds) => Some(Self::Moved(Nanos::from(seconds) * SECOND)),
            Clock::Held(seconds) => Some(Self::Started {
                from: Nanos::from(seconds) * SECOND,
                since: read(ClockId::CLOCK_MONOTONIC)?,
            }),
        })
    }

    /// What the payload reads from `clock`, one of [`CLOCKS`]; never negative.
    pub(super) fn now(&self, clock: clockid_t) -> io::Result<Nanos> {
        let shown = match self {
            Self::Moved(by) => read(kernel_clock(clock))? + by,
            Self::Started { from, since } => {
                // Coarse clocks lag by a tick, so they can be before the start.
                let elapsed = read(pace(clock))? - since;
                from + elapsed.max(0)
            }
        };
        Ok(shown.max(0))
    }

    /// The kernel's time on `clock` at which the payload's clock will show `deadline`; at least
    /// 1 ns, for the kernel refuses negative times and takes 0 as "disarm" for timers.
    pub(super) fn kernel_deadline(&self, clock: clockid_t, deadline: Nanos) -> io::Result<Nanos> {
        let kernel = match self {
            Self::Moved(by) => deadline - by,
            Self::Started { .. } => deadline - self.now(clock)? + read(kernel_clock(clock))?,
        };
        Ok(kernel.max(1))
    }
}

/// The clock to ask: the alarm clock shows real time, but only on machines that can wake up by it.
fn kernel_clock(clock: clockid_t) -> ClockId {
    ClockId::from_raw(if clock == CLOCK_REALTIME_ALARM { CLOCK_REALTIME } else { clock })
}

/// The monotonic clock that is as fine, and as cheap, as `clock`.
fn pace(clock: clockid_t) -> ClockId {
    if clock == CLOCK_REALTIME_COARSE {
        ClockId::CLOCK_MONOTONIC_COARSE
    } else {
        ClockId::CLOCK_MONOTONIC
    }
}

fn read(clock: ClockId) -> io::Result<Nanos> {
    let time = clock_gettime(clock)?;
    Ok(Nanos::from(time.tv_sec()) * SECOND + Nanos::from(time.tv_nsec()))
}

/// `[seconds, rest]`, the rest in units of `unit` nanoseconds, as the structs of the kernel want
/// it (64-bit fields on the architectures that we support). A time beyond the range is its end.
pub(super) fn split(time: Nanos, unit: Nanos) -> [i64; 2] {
    let seconds = i64::try_from(time.div_euclid(SECOND)).unwrap_or(i64::MAX);
    let rest = i64::try_from(time.rem_euclid(SECOND) / unit).unwrap_or(0);
    [seconds, rest]
}

/// The time of a `timespec`, unless the kernel would refuse it.
pub(super) fn join([seconds, nanoseconds]: [i64; 2]) -> Option<Nanos> {
    let rest = Nanos::from(nanoseconds);
    (seconds >= 0 && (0..SECOND).contains(&rest)).then(|| Nanos::from(seconds) * SECOND + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_clock_and_its_deadlines_are_inverse() {
        let wall = Wall::start(Clock::Offset(-400 * 86_400)).unwrap().unwrap();
        let deadline = 1_767_225_600 * SECOND + 5;
        let kernel = wall.kernel_deadline(CLOCK_REALTIME, deadline).unwrap();
        assert_eq!(kernel - deadline, 400 * 86_400 * SECOND);
    }

    #[test]
    fn a_held_clock_starts_where_it_was_told_and_goes_on() {
        let wall = Wall::start(Clock::Held(1000)).unwrap().unwrap();
        let first = wall.now(CLOCK_REALTIME).unwrap();
        let second = wall.now(CLOCK_TAI).unwrap();
        assert!((1000 * SECOND..1300 * SECOND).contains(&first), "{first}");
        assert!(first <= second);
        assert!(wall.now(CLOCK_REALTIME_COARSE).unwrap() >= 1000 * SECOND);
    }

    #[test]
    fn a_deadline_of_a_held_clock_lies_as_far_ahead_on_the_real_one() {
        let wall = Wall::start(Clock::Held(1000)).unwrap().unwrap();
        let kernel = wall.kernel_deadline(CLOCK_REALTIME, 5000 * SECOND).unwrap();
        let ahead = kernel - read(ClockId::CLOCK_REALTIME).unwrap();
        assert!((3000 * SECOND..=4000 * SECOND).contains(&ahead), "{ahead}");
    }

    #[test]
    fn no_clock_is_before_1970_and_no_deadline_is_zero() {
        let wall = Wall::start(Clock::Offset(i64::MIN)).unwrap().unwrap();
        assert_eq!(wall.now(CLOCK_REALTIME).unwrap(), 0);
        let wall = Wall::start(Clock::Offset(i64::MAX)).unwrap().unwrap();
        assert_eq!(wall.kernel_deadline(CLOCK_REALTIME, 0).unwrap(), 1);
        assert_eq!(split(wall.now(CLOCK_REALTIME).unwrap(), 1)[0], i64::MAX);
    }

    #[test]
    fn a_timespec_that_the_kernel_refuses_is_no_time() {
        assert_eq!(join([1, 2]), Some(SECOND + 2));
        assert_eq!(join([-1, 0]), None);
        assert_eq!(join([1, 1_000_000_000]), None);
        assert_eq!(join([1, -1]), None);
    }
}
