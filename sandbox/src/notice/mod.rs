//! Calls told to init while their caller waits, by seccomp user notification: who did it, and what was used.
//!
//! ```text
//! payload --connect(…)--> the kernel's filter --notice--> init: notes it --go on, or an error--> the kernel
//! ```
//!
//! A notice is a witness, not a judge: what a pointer leads to can change between the notice and the call, and
//! io_uring, which is refused, would pass by. What was sent is known from the eye and the kernel's counters.
//! Only registers are judged here, and those nobody can change behind the kernel's back.
//!
//! What tells of the machine is answered here where a [`Mask`](crate::Mask) is asked for ([`machine`]), and command
//! lines are looked at ([`commands`]): a payload that deceives init in that deceives itself.
//!
//! There can be one listener in a tree of processes: a payload that wants one of its own does not get it.

mod address;
mod census;
mod commands;
mod machine;
mod process;
mod watch;
mod witness;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use libc::sock_filter;

use self::machine::Shown;
pub(crate) use self::watch::{Heard, Watch};
pub(crate) use self::witness::Witness;
use crate::options::Machine;
use crate::stage::seccomp::{self, told};
use crate::sys;

/// Said once, by [`Told::begin`]. What a payload says with it later changes nothing.
const BEGINS: u64 = u64::from_be_bytes(*b"payload!");

/// Whether this notice says that the program begins.
fn begins(call: &libc::seccomp_data) -> bool {
    i64::from(call.nr) == libc::SYS_bind && call.args[1] == BEGINS && call.args[2] == 0
}

/// The calls that execute a program.
const EXECUTED: &[i64] = &[libc::SYS_execve, libc::SYS_execveat];

/// Which calls are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Those that name a destination, those refused that would have been attempts, and those that a machine which is
    /// shown in place of the real one needs.
    Destinations,
    /// All.
    Everything,
}

impl Told {
    /// The payload's side, when `no_new_privs` is set: from here on its calls are told. The listener goes to
    /// init over `passage`; where it is lost, calls that would be told of fail.
    pub(crate) fn arm(self, passage: &UnixStream, machine: &Machine) -> io::Result<()> {
        let shown = if machine.mask.is_some() { Shown::CALLS } else { &[] };
        let started = if machine.watch.is_empty() { &[] } else { EXECUTED };
        let besides = [shown, started].concat();
        let descriptor = u32::try_from(passage.as_raw_fd()).map_err(io::Error::other)?;
        sys::install_and_pass(passage.as_fd(), |message| {
            let passage = told::Passage { descriptor, message };
            match self {
                Self::Destinations => told::of_destinations(&passage, &besides),
                Self::Everything => told::of_everything(&passage),
            }
        })
    }

    /// The payload's side, as its last call before it executes its program: what it did until now, such as to try
    /// its walls, was not the program's.
    pub(crate) fn begin() {
        sys::say(BEGINS);
    }

    /// What the strict filter still refuses by itself; `None` where init refuses everything that it would.
    pub(crate) fn strict(self) -> Option<Vec<sock_filter>> {
        match self {
            Self::Destinations => Some(seccomp::leaving(told::LEFT)),
            Self::Everything => None,
        }
    }
}

/// The error with which the strict filter refuses a call.
fn refusal(strict: &[sock_filter], call: &libc::seccomp_data) -> Option<i32> {
    let verdict = seccomp::verdict(strict, call);
    if verdict == libc::SECCOMP_RET_ALLOW {
        return None;
    }
    match verdict & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ERRNO => i32::try_from(verdict & libc::SECCOMP_RET_DATA).ok(),
        // Killed by the kernel before it is told: never seen here, and no way in if it is.
        _ => Some(libc::EPERM),
    }
}
