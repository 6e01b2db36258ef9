//! Programs that hold secrets: none leaves through a core file or a debugger of the same user.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

use crate::failure::{Exit, Failure, Hint};

/// Switches core files and attaching off for this process, before any secret is read.
///
/// # Errors
/// The kernel refuses.
pub fn harden() -> Result<(), Failure> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).or_fail(Exit::Host, "cannot switch core files off")?;
    set_dumpable(false).or_fail(Exit::Host, "cannot protect this process from being read")
}
