//! Another wall clock and other randomness for a whole process tree, statically linked programs included.
//!
//! Why a tracer? A time namespace does not move `CLOCK_REALTIME`, and `LD_PRELOAD` reaches neither
//! static programs nor Go. Here every process of the tree is traced: at each `execve` the vDSO,
//! in which a program reads the time without entering the kernel, is hidden from it ([`vdso`]), a
//! seccomp filter stops the few system calls that read the wall clock or wait for a moment of it
//! ([`filter`]), and the tracer answers instead of the kernel ([`answer`], [`deadline`]). All other
//! system calls run at full speed: the kernel knows from the filter that it never matches them.
//!
//! # Order of the calls
//!
//! ```text
//! init (PID 1)                         payload stage (its child, one thread)
//! fork ------------------------------> drop privileges, close descriptors, …
//! attend(child, clock)                 arm(clock)   stops itself, then installs the filter
//!   seizes and continues it            the strict filter of the sandbox
//!   answers until the payload ends     execve
//! ```
//!
//! [`arm`] comes *before* the strict filter, which denies the payload what `arm` needs (`seccomp`)
//! and what could disturb its tracer (`ptrace`). The kernel takes the most restrictive answer of
//! all filters, so the order changes no verdict: what the strict filter denies stays denied, and
//! what it allows still reaches the tracer. Entries of a foreign architecture (`int 0x80`) are
//! killed by this filter as well; x32 numbers are killed by the strict one only.
//!
//! # What the payload sees
//!
//! - `Offset(s)`: the real time plus `s` seconds. `Held(t)`: `t` (Unix seconds) when the payload
//!   starts, and from there the pace of the monotonic clock, because a clock that stands still
//!   makes `make` and every time-out loop misbehave. No clock is shown before 1970.
//! - `clock_gettime` of `CLOCK_REALTIME`, its `_COARSE` and `_ALARM` forms and `CLOCK_TAI`,
//!   `gettimeofday` and `time` are answered; `adjtimex` and `clock_adjtime`, the only other
//!   readers, are refused with `EPERM`. Monotonic and CPU clocks are real.
//! - Deadlines on the wall clock are translated, or a condition variable would wait for ever under
//!   a later clock and spin under an earlier one: `futex` with an absolute real-time time-out,
//!   `clock_nanosleep`, `timerfd_settime`, `timer_settime`, `mq_timedsend` and `mq_timedreceive`.
//! - **Not changed**: stamps that the kernel itself writes. File times (`stat`, `utimensat` with
//!   `UTIME_NOW`), System V IPC times and packet stamps show the real clock, so a file written
//!   now looks old under a positive offset and is in the future under a negative one (`make`
//!   then warns of clock skew). `/proc/stat` (`btime`), `/dev/rtc` and `/sys/class/rtc` are for
//!   the sandbox to mask.
//! - Not a wall against malice: a program that looks for the vDSO in `/proc/self/maps`, or compares
//!   a fresh file's time with the clock, learns the real time. The clock is varied to find builds
//!   that depend on it, not to deceive a payload that wants to know.
//! - A process that hides its memory (`PR_SET_DUMPABLE`, a program without read permission) can be
//!   answered only if the caller holds `CAP_SYS_PTRACE` over its user namespace; else [`attend`]
//!   fails rather than show it the real time.
//!
//! # What else is answered
//!
//! - `getrandom`, and the random bytes that a program starts with, by a held stream ([`random`]).
//! - Nothing: starts are delayed ([`jitter`]).
//!
//! A reading costs some 50 µs instead of 0.1, an `execve` and a `fork` some 0.1 ms more; compilers
//! read the clock rarely, so that a build takes about one percent longer.

mod answer;
mod deadline;
mod filter;
mod jitter;
mod memory;
mod random;
mod registers;
mod timers;
mod tracer;
mod vdso;
mod wall;

use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;

use crate::options::Machine;
pub(crate) use random::Stream;

/// How the payload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It exited with this code.
    Code(i32),
    /// It was killed by the signal with this number.
    Signal(i32),
}

/// Makes the calling process ready to be attended: the payload's side, just before `execve` and
/// before the strict filter. The caller must have one thread.
///
/// Stops the process with `SIGSTOP` until [`attend`] has seized and continued it, then installs
/// the filter, setting `no_new_privs`. Does nothing where all is to be as it is.
///
/// # Errors
///
/// What the kernel says to `prctl` or `seccomp`. The clock is then not changed: do not go on.
pub(crate) fn arm(machine: &Machine) -> io::Result<()> {
    if !machine.is_attended() {
        return Ok(());
    }
    // This is still a copy of init, which hides from tracers. Nothing that could look into it runs in
    // this pid namespace before execve puts another image in its place.
    prctl::set_dumpable(true)?;
    // Why not PTRACE_TRACEME? Only a seized tracee can stay stopped by SIGSTOP or SIGTSTP, and only
    // there is a stop of ours never taken for a signal of the payload.
    raise(Signal::SIGSTOP)?;
    filter::install(machine)
}

/// Shows `machine` to `payload` and all its descendants, and reaps them, until the payload ends.
///
/// Runs on the thread that forked `payload`, which calls [`arm`] with the same machine. Where the two
/// are different users, the caller needs `CAP_SYS_PTRACE` in the payload's user namespace; timers
/// need its `/proc`. Every child of the caller is reaped. Descendants that outlive the payload stay
/// traced, hence stopped sooner or later: the caller ends their pid namespace. They are killed if
/// the caller dies.
///
/// # Errors
///
/// What the kernel says to `ptrace` or `wait`. The payload may then have seen the real clock: end
/// the namespace and believe nothing that it made.
pub(crate) fn attend(payload: Pid, machine: &Machine) -> io::Result<Ended> {
    if machine.is_attended() { tracer::attend(payload, machine) } else { tracer::reap(payload) }
}

/// Whether an error is this one of the kernel's.
fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
