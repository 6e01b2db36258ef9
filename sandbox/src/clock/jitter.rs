//! Disturbances of the order in which processes and threads begin, which bring races out.

use std::time::Duration;

use nix::unistd::Pid;

use super::random::Stream;

/// One start in so many is delayed.
const ONE_IN: u64 = 3;
/// The longest delay.
const LONGEST: Duration = Duration::from_millis(6);

/// Delays and priorities to come.
#[derive(Debug)]
pub(super) struct Jitter(Stream);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(Stream::new(seed))
    }

    /// Holds up whoever has just stopped; all others run on.
    pub(super) fn pause(&mut self) {
        if self.0.next().is_multiple_of(ONE_IN) {
            let micros = self.0.next() % (LONGEST.as_micros() as u64);
            std::thread::sleep(Duration::from_micros(micros));
        }
    }

    /// Gives a process that has just executed a program another priority, so that others overtake it.
    pub(super) fn reprioritise(&mut self, pid: Pid) {
        let nice = (self.0.next() % 20) as libc::c_int;
        let process = pid.as_raw() as libc::id_t;
        // SAFETY: takes integers only. A failure leaves the priority as it was, and the pauses do their work.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, process, nice) };
    }
}
