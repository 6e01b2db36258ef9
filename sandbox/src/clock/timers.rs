//! Which clock a timer of a tracee goes by: the kernel tells in `/proc` only.

use std::fs;

use libc::clockid_t;
use nix::unistd::Pid;

/// The clock of the timer descriptor `descriptor`; `None` if it is no such thing.
///
/// Why not remember `timerfd_create`? Descriptors are duplicated, inherited and sent.
pub(super) fn of_descriptor(pid: Pid, descriptor: u64) -> Option<clockid_t> {
    let descriptor = descriptor as u32; // An int: only the low half of the register counts.
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
    text.lines().find_map(|line| value(line, "clockid:"))
}

/// The clock of the POSIX timer with the kernel's number `timer`; `None` if there is none.
pub(super) fn of_timer(pid: Pid, timer: u64) -> Option<clockid_t> {
    let text = fs::read_to_string(format!("/proc/{pid}/timers")).ok()?;
    find(&text, timer as i32)
}

/// Each timer is a paragraph that begins with its number and has its clock some lines below.
fn find(text: &str, timer: i32) -> Option<clockid_t> {
    let mut ours = false;
    for line in text.lines() {
        if let Some(id) = value(line, "ID:") {
            ours = id == timer;
        } else if ours && let Some(clock) = value(line, "ClockID:") {
            return Some(clock);
        }
    }
    None
}

fn value(line: &str, key: &str) -> Option<i32> {
    line.strip_prefix(key)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_has_the_clock_of_its_own_paragraph() {
        let text = "ID: 0\nsignal: 14/0\nnotify: signal/pid.7\nClockID: 1\n\
                    ID: 3\nsignal: 14/0\nnotify: none/pid.7\nClockID: 0\n";
        assert_eq!(find(text, 0), Some(1));
        assert_eq!(find(text, 3), Some(0));
        assert_eq!(find(text, 1), None);
    }
}
