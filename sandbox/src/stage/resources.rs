//! Processors, limits and usage: what init takes, raises and adds up.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;

use crate::capability::PROCESSORS;
use crate::error::{Failure, Staged, Step};
use crate::running::Usage;
use crate::spec::Plan;

/// The processors the payload gets, and how many it is told of.
pub(super) fn processors(plan: &Plan) -> Staged<(CpuSet, usize)> {
    let mine = sched_getaffinity(Pid::from_raw(0)).step("read the processors")?;
    let usable: Vec<usize> =
        (0..CpuSet::count()).filter(|cpu| mine.is_set(*cpu).unwrap_or(false)).collect();
    let count = plan.machine.cpus.map_or(usable.len(), |cpus| cpus as usize);
    if count > usable.len() {
        let reason = format!("{count} were asked for, and the caller may use {}", usable.len());
        return Err(Failure::missing(PROCESSORS, reason));
    }
    let mut chosen = CpuSet::new();
    for cpu in usable.into_iter().take(count) {
        chosen.set(cpu).step("choose the processors")?;
    }
    Ok((chosen, count))
}

/// As far as the caller's rights go; the payload's own, lower limits are set later.
pub(super) fn raise_limits() {
    const MANY: u64 = 1 << 20;
    for resource in [
        Resource::RLIMIT_STACK,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_MEMLOCK,
        Resource::RLIMIT_MSGQUEUE,
    ] {
        if let Ok((soft, _)) = getrlimit(resource) {
            // Root's right; a plain user's payload gets what the user has.
            _ = setrlimit(resource, soft, libc::RLIM_INFINITY);
        }
    }
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard.max(MANY));
        if raised.is_err() {
            _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}

/// What all processes that were waited for used up.
pub(super) fn usage(wall: Duration) -> Usage {
    let Ok(used) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Usage { wall, ..Usage::default() };
    };
    let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    Usage {
        cpu: Duration::from_micros(u64::try_from(micros).unwrap_or(0)),
        wall,
        max_rss: u64::try_from(used.max_rss()).unwrap_or(0) * 1024,
    }
}
