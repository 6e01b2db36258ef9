//! The one place where the agent reads a clock.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use super::AgentError;
use crate::machine::Moment;

/// Since when a process runs, on both clocks; `None` if it is gone.
pub(super) fn began(pid: i32, now: &Moment) -> Option<Moment> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the 20th field after it is the start, in ticks after the boot.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let a_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let boot_ms = ticks.saturating_mul(1000) / u64::try_from(a_second).ok()?.max(1);
    Some(now.earlier(Duration::from_millis(now.boot_ms.saturating_sub(boot_ms))))
}

/// The time on both clocks.
///
/// # Errors
/// The kernel gives no boot clock or boot id.
pub fn now() -> Result<Moment, AgentError> {
    let failed = |source| AgentError::System { what: "read the boot clock", source };
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(failed)?;
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|errno| failed(errno.into()))?;
    let seconds = u64::try_from(since.tv_sec()).unwrap_or(0);
    let millis = u64::try_from(since.tv_nsec()).unwrap_or(0) / 1_000_000;
    let boot_ms = seconds.saturating_mul(1000).saturating_add(millis);
    Ok(Moment::new(Timestamp::now(), boot.trim(), boot_ms))
}
