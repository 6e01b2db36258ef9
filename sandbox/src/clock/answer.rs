//! What the tracer answers to a system call that reads the wall clock, in place of the kernel.

use std::io;

use libc::{CLOCK_REALTIME, clockid_t};
use nix::errno::Errno;

use super::registers::Call;
use super::wall::{SECOND, Wall, split};
use super::{is, memory};

/// The result of `call` under `wall`, its structs written; `None` for a call that the kernel is to
/// carry out, which is one with a deadline.
pub(super) fn result(call: &Call, wall: &Wall) -> io::Result<Option<i64>> {
    Ok(Some(match call.number() {
        libc::SYS_clock_gettime => {
            let time = split(wall.now(call.argument(0) as clockid_t)?, 1);
            give(call, 1, bytes(time))?.unwrap_or(0)
        }
        libc::SYS_gettimeofday => day(call, wall)?,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_time => {
            // The kernel's own `time` lags with the coarse clock; programs compare the two.
            let [seconds, _] = split(wall.now(libc::CLOCK_REALTIME_COARSE)?, 1);
            match call.argument(0) {
                0 => seconds,
                _ => give(call, 0, seconds.to_ne_bytes())?.unwrap_or(seconds),
            }
        }
        libc::SYS_adjtimex | libc::SYS_clock_adjtime => error(Errno::EPERM),
        _ => return Ok(None),
    }))
}

/// `gettimeofday`: both pointers may be null.
fn day(call: &Call, wall: &Wall) -> io::Result<i64> {
    if call.argument(0) != 0 {
        let time = split(wall.now(CLOCK_REALTIME)?, SECOND / 1_000_000);
        if let Some(error) = give(call, 0, bytes(time))? {
            return Ok(error);
        }
    }
    if call.argument(1) != 0 {
        // struct timezone: two ints, zero in a kernel that nobody told otherwise.
        return Ok(give(call, 1, [0; 8])?.unwrap_or(0));
    }
    Ok(0)
}

/// Writes a result where an argument points; `Some` is the error that the call returns instead.
pub(super) fn give(
    call: &Call,
    argument: usize,
    bytes: impl AsRef<[u8]>,
) -> io::Result<Option<i64>> {
    match memory::write(call.pid(), call.argument(argument), bytes.as_ref()) {
        Ok(()) => Ok(None),
        Err(refused) if is(&refused, Errno::EFAULT) => Ok(Some(error(Errno::EFAULT))),
        Err(refused) => Err(refused),
    }
}

pub(super) fn error(error: Errno) -> i64 {
    -(error as i64)
}

/// The memory of a `timespec` or `timeval`.
fn bytes([seconds, rest]: [i64; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seconds.to_ne_bytes());
    bytes[8..].copy_from_slice(&rest.to_ne_bytes());
    bytes
}
