//! What can a payload touch? Isolation for hermetic builds and shadow runs, as root and as a plain user.
//!
//! A program that uses sandboxes begins its `main` with [`init_if_asked`]: a sandbox's own processes are
//! this program, executed again.
//!
//! ```no_run
//! use countersign_sandbox::{Mount, Network, Sandbox};
//!
//! fn main() -> Result<(), countersign_sandbox::Error> {
//!     countersign_sandbox::init_if_asked();
//!     let ended = Sandbox::new(vec!["/usr/bin/id".into()])
//!         .mount(Mount::ReadOnly { from: "/usr".into(), to: "/usr".into() })
//!         .mount(Mount::Link { to: "/lib64".into(), target: "usr/lib64".into() })
//!         .network(Network::Sinkhole)
//!         .run()?;
//!     assert!(ended.attempts.is_empty(), "it phoned home");
//!     Ok(())
//! }
//! ```
//!
//! There is one mode: what the kernel or the caller's rights lack is [`Error::Missing`], by name.
//!
//! [`Sandbox::lower`] names what the operator goes without; nothing else is ever left out. Before a payload becomes its
//! program, its own process tries the walls around it.
//!
//! By what a payload can tell that it is in a sandbox is listed in [`TELLTALES`]. What is not hidden: `uname`, `sysinfo` and CPUID
//! tell of the machine, unless masked; `/proc/self/mountinfo` of where
//! mounts came from. Programs may be executed from memory (`memfd_create`), as from any directory that the
//! payload may write, unless [`Sandbox::given_programs`] is asked for: what it may execute is bounded by what it may
//! do, not by where the program lies. A
//! payload that listens on a wildcard address and dials a sinkhole address with the same port reaches
//! itself; the attempt is counted all the same.

#[cfg(not(target_os = "linux"))]
compile_error!("countersign-sandbox needs Linux");
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("countersign-sandbox knows the system calls of x86_64 and aarch64 only");

mod attempt;
mod capability;
mod clock;
mod door;
mod error;
mod link;
mod lower;
mod memory;
mod net;
mod notice;
mod options;
mod running;
mod sample;
mod spec;
mod stage;
pub mod subvolume;
mod sys;
mod telltales;
mod wire;
mod written;

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

pub use attempt::{Attempt, Process, Protocol};
pub use capability::{Capability, capabilities};
pub use error::Error;
pub use lower::{Lowerable, NotLowerable};
pub use net::{Datagram, Overhearing};
pub use options::{Clock, Identity, Limits, Machine, Mask, Mount, Network, Random};
pub use running::{Caller, Ended, Exit, Readiness, Running, Usage};
pub use sample::Sample;
pub use spec::Sandbox;
pub use telltales::TELLTALES;
pub use written::{Change, Deed, Written, written};

/// The name under which this program is executed again.
const KEEPER: &str = "countersign-sandbox-init";

/// Set once `main` has begun as it must: a program that does not would be executed again as a whole, and again.
static BEGAN: AtomicBool = AtomicBool::new(false);

/// Takes over when this process was started as a sandbox's own, and does not return then. Must be the first
/// statement of `main` in every program that uses sandboxes: without it no sandbox is started.
pub fn init_if_asked() {
    BEGAN.store(true, Ordering::Relaxed);
    if !asked() {
        return;
    }
    // The caller passed the one end of a socket as standard input.
    stage::run(&UnixStream::from(sys::own(libc::STDIN_FILENO)));
    std::process::exit(0)
}

/// Whether this process was started by [`Running`] of another one.
fn asked() -> bool {
    std::env::args_os().next().is_some_and(|name| name == KEEPER)
}
