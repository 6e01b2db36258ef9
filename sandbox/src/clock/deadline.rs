//! Deadlines on the payload's wall clock, told to the kernel in its own time.

use std::io;

use libc::{CLOCK_REALTIME, clockid_t};
use nix::errno::Errno;

use super::memory::{self, WORD};
use super::registers::Call;
use super::wall::{CLOCKS, Wall, join, split};
use super::{filter, is, timers};

/// Below the stack pointer, a function may keep this many bytes without saying so (x86-64 psABI
/// 3.2.2). Nothing below that outlives a signal, so it is ours while the kernel reads it.
const RED_ZONE: u64 = 128;

/// A pointer argument for which the tracer put another, until the call is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrowed {
    argument: usize,
    original: u64,
}

impl Borrowed {
    /// Gives the argument back. Programs rely on registers that a system call does not change, and a
    /// call that a signal interrupts is made again with them: it must not be translated twice.
    pub(super) fn give_back(self, call: &mut Call) -> io::Result<()> {
        call.set_argument(self.argument, self.original)
    }
}

/// A deadline among the arguments of a call: a `timespec`, alone or as the second half of an
/// `itimerspec`.
struct Deadline {
    argument: usize,
    words: usize,
    clock: clockid_t,
}

/// Lets `call` wait for the kernel's time instead of the payload's. `None` if there is nothing to
/// translate: another clock, or a time that the kernel will refuse anyway.
pub(super) fn translate(call: &mut Call, wall: &Wall) -> io::Result<Option<Borrowed>> {
    let Some(Deadline { argument, words, clock }) = find(call) else { return Ok(None) };
    let original = call.argument(argument);
    let mut value = [0; 4];
    let value = &mut value[..words];
    match memory::read(call.pid(), original, value) {
        Err(error) if is(&error, Errno::EFAULT) => return Ok(None),
        other => other?,
    }
    let time = &mut value[words - 2..];
    let Some(deadline) = join([time[0], time[1]]) else { return Ok(None) };
    if deadline == 0 && words == 4 {
        return Ok(None); // Disarms the timer.
    }
    time.copy_from_slice(&split(wall.kernel_deadline(clock, deadline)?, 1));
    // Why not in place? Another thread may be about to wait for the same deadline.
    let scratch = call.stack().wrapping_sub(RED_ZONE + (words * WORD) as u64) & !15;
    match memory::poke(call.pid(), scratch, value) {
        // No stack there: a program so strange may wait by the kernel's time.
        Err(error) if is(&error, Errno::EIO) || is(&error, Errno::EFAULT) => return Ok(None),
        other => other?,
    }
    call.set_argument(argument, scratch)?;
    Ok(Some(Borrowed { argument, original }))
}

/// The deadline of a call that the filter stopped, if it is on a wall clock.
fn find(call: &Call) -> Option<Deadline> {
    let (argument, words, clock) = match call.number() {
        libc::SYS_futex => (3, 2, CLOCK_REALTIME),
        libc::SYS_futex_waitv => (3, 2, CLOCK_REALTIME),
        filter::SYS_FUTEX_WAIT => (4, 2, CLOCK_REALTIME),
        libc::SYS_mq_timedsend | libc::SYS_mq_timedreceive => (4, 2, CLOCK_REALTIME),
        libc::SYS_clock_nanosleep => (2, 2, call.argument(0) as clockid_t),
        libc::SYS_timerfd_settime => (2, 4, timers::of_descriptor(call.pid(), call.argument(0))?),
        libc::SYS_timer_settime => (2, 4, timers::of_timer(call.pid(), call.argument(0))?),
        _ => return None,
    };
    CLOCKS.contains(&clock).then_some(Deadline { argument, words, clock })
}
