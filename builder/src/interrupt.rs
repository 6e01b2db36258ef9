//! An end that a signal asked for: the work stops at its next look, and what it made for itself is removed as always.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT, SIGTERM and SIGHUP ask for an end; a second one ends the program at once.
///
/// # Errors
/// The machine refuses.
pub fn listen() -> io::Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset, and sets it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(asked))?;
        signal_hook::flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}

/// An error where an end was asked for, for work that goes on in small steps.
pub(crate) fn check() -> io::Result<()> {
    // Not of the kind `Interrupted`, after which everybody tries again.
    if asked() { Err(io::Error::other("a signal asked for an end")) } else { Ok(()) }
}

/// Whether an end was asked for.
pub fn asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}
