//! Which system calls stop for the tracer: those that read the wall clock or wait for a time of it, and the one that
//! gives random bytes.

use std::collections::BTreeMap;
use std::io;

use libc::{
    FUTEX_CLOCK_REALTIME, FUTEX_CMD_MASK, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_PRIVATE_FLAG,
    FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

use super::wall::CLOCKS;
use crate::options::{Clock, Machine, Random};

/// `futex_wait` of Linux 6.7, one number on all architectures; not in `libc` yet.
pub(super) const SYS_FUTEX_WAIT: i64 = 455;

/// Installs the filter for the calling process and all that it will start.
pub(super) fn install(machine: &Machine) -> io::Result<()> {
    let program = program(machine).map_err(io::Error::other)?;
    // Sets no_new_privs first: without it, only a privileged process may install a filter.
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn program(machine: &Machine) -> Result<BpfProgram, BackendError> {
    let mut rules: Rules = BTreeMap::from([
        // A child that asks not to be traced would be answered by nobody, and see the vDSO at its
        // next execve. clone3 hides its flags in memory, where a filter cannot look.
        (libc::SYS_clone, vec![rule([has(0, libc::CLONE_UNTRACED as u64)])?]),
        (libc::SYS_clone3, vec![]),
    ]);
    if machine.clock != Clock::Real {
        rules.extend(of_clock()?);
    }
    if machine.random != Random::Real {
        rules.insert(libc::SYS_getrandom, vec![]);
    }
    let stop = SeccompAction::Trace(0);
    let here = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, stop, here)?.try_into()
}

/// Arguments decide in the filter wherever they can, so that the many waits on the monotonic clock
/// or without a time-out cost nothing.
fn of_clock() -> Result<Rules, BackendError> {
    // Only the low 32 bits of an int argument are defined; the kernel ignores the others.
    let mut reads = Vec::new();
    let mut sleeps = Vec::new();
    for clock in CLOCKS {
        reads.push(rule([equal(0, clock as u64)])?);
        let absolute = has(1, libc::TIMER_ABSTIME as u64);
        sleeps.push(rule([equal(0, clock as u64), absolute])?);
    }
    let real = libc::CLOCK_REALTIME as u64;
    // The operations whose time-out is absolute and on this clock. Others take a number in its place
    // or, like FUTEX_WAIT, a time from now.
    let mut futexes = Vec::new();
    for operation in [FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI2] {
        let flagged = (operation | FUTEX_CLOCK_REALTIME) as u64;
        futexes.push(rule([masked(1, !FUTEX_PRIVATE_FLAG as u32, flagged), given(3)])?);
    }
    let lock = masked(1, FUTEX_CMD_MASK as u32, FUTEX_LOCK_PI as u64);
    futexes.push(rule([lock, given(3)])?);
    Ok(BTreeMap::from([
        (libc::SYS_clock_gettime, reads),
        (libc::SYS_gettimeofday, vec![]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_time, vec![]),
        (libc::SYS_adjtimex, vec![]),
        (libc::SYS_clock_adjtime, vec![]),
        (libc::SYS_clock_nanosleep, sleeps),
        (libc::SYS_futex, futexes),
        (SYS_FUTEX_WAIT, vec![rule([given(4), equal(5, real)])?]),
        (libc::SYS_futex_waitv, vec![rule([given(3), equal(4, real)])?]),
        (libc::SYS_mq_timedsend, vec![rule([given(4)])?]),
        (libc::SYS_mq_timedreceive, vec![rule([given(4)])?]),
        (libc::SYS_timerfd_settime, vec![rule([has(1, libc::TFD_TIMER_ABSTIME as u64)])?]),
        (libc::SYS_timer_settime, vec![rule([has(1, libc::TIMER_ABSTIME as u64)])?]),
    ]))
}

type Condition = Result<SeccompCondition, BackendError>;

/// All conditions together.
fn rule<const N: usize>(conditions: [Condition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// The argument is this number.
fn equal(argument: u8, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// The argument, as far as `mask` reaches, is `value`.
fn masked(argument: u8, mask: u32, value: u64) -> Condition {
    let compare = SeccompCmpOp::MaskedEq(u64::from(mask));
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
}

/// The argument has this flag.
fn has(argument: u8, flag: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag)
}

/// The argument is a pointer to something.
fn given(argument: u8) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)
}
