//! The one place where the agent reads a clock.

use std::fs;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use super::AgentError;
use crate::machine::Moment;

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
