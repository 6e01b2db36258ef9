//! The self-test: the payload's process tries its own walls when the last one is up, and becomes the program only if each
//! of them holds. That is cheap, so it is done for every payload, not for the first only. The filter's killing is tried
//! before the first payload of a caller's process, by a child that has to die of it.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::seccomp;
use crate::capability::{MOUNTS, NAMESPACES, PRIVATE_USER, PROC, SECCOMP, USER_NAMESPACES};
use crate::error::{Failure, Staged, Step};
use crate::sys::{self, Fork};

/// Tries what needs no other process. `private`: the caller is root.
pub(super) fn walls(private: bool) -> Staged<()> {
    let status = fs::read_to_string("/proc/self/status").needs(PROC)?;
    if let Some(line) = status.lines().find(|line| !is_bare(line)) {
        return Err(broken(SECCOMP, format!("the payload's process has {line:?}")));
    }
    if private {
        let map = fs::read_to_string("/proc/self/uid_map").needs(PROC)?;
        if map.lines().any(|line| line.split_whitespace().nth(1) == Some("0")) {
            return Err(broken(PRIVATE_USER, "it is the machine's root"));
        }
    }
    if sys::keyctl_nothing().raw_os_error() != Some(libc::EPERM) {
        return Err(broken(SECCOMP, "a refused system call was let through"));
    }
    if unshare(CloneFlags::CLONE_NEWUSER).is_ok() {
        return Err(broken(USER_NAMESPACES, "it could make another"));
    }
    if fs::read_link("/proc/1/root").is_ok() {
        return Err(broken(PROC, "the first process's root is open"));
    }
    if fs::File::create("/countersign-self-test").is_ok() {
        return Err(broken(MOUNTS, "the tree can be written"));
    }
    let devices = fs::read_to_string("/proc/self/net/dev").needs(PROC)?;
    match devices.lines().skip(2).find(|line| !line.trim_start().starts_with("lo:")) {
        Some(line) => {
            Err(broken(NAMESPACES, format!("it has another network than its own: {line:?}")))
        }
        None => Ok(()),
    }
}

/// A line of `/proc/self/status`, unless it says that the process may do something.
fn is_bare(line: &str) -> bool {
    let Some((name, value)) = line.split_once(':') else { return true };
    match name {
        "CapInh" | "CapPrm" | "CapEff" | "CapBnd" | "CapAmb" => {
            value.trim().bytes().all(|byte| byte == b'0')
        }
        "NoNewPrivs" => value.trim() == "1",
        "Seccomp" => value.trim() == "2",
        _ => true,
    }
}

/// Whether the filter kills who calls by another architecture's numbers: in a child, which has to die of it. Tried by the
/// keeper, outside: inside it would take a process id, and the payload's would differ from one run to the next.
/// On an architecture that has no such numbers there is nothing to try.
pub(super) fn filter_kills() -> Staged<()> {
    Doomed::start()?.check()
}

/// That child, which dies while others work.
pub(super) struct Doomed(Option<Pid>);

impl Doomed {
    pub(super) fn start() -> Staged<Self> {
        if cfg!(not(target_arch = "x86_64")) {
            return Ok(Self(None));
        }
        match sys::fork().needs(SECCOMP)? {
            Fork::Child => {
                // No core file of it, and no rights by which the filter would not need the promise.
                let ready = set_dumpable(false).and_then(|()| set_no_new_privs());
                if ready.is_ok() && sys::install_seccomp(&seccomp::filter()).is_ok() {
                    sys::foreign_call();
                }
                std::process::exit(1)
            }
            Fork::Parent(child) => Ok(Self(Some(child))),
        }
    }

    /// Whether it died of what it did.
    pub(super) fn check(self) -> Staged<()> {
        let Some(child) = self.0 else { return Ok(()) };
        match waitpid(child, None) {
            Ok(WaitStatus::Signaled(_, Signal::SIGSYS, _)) => Ok(()),
            Ok(_) => Err(broken(SECCOMP, "a call of another architecture was not killed")),
            Err(error) => Err(io::Error::from(error)).needs(SECCOMP),
        }
    }
}

fn broken(capability: &str, what: impl std::fmt::Display) -> Failure {
    Failure::missing(capability, format!("the self-test failed: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_gives_away_is_seen() {
        for bare in ["CapEff:\t0000000000000000", "Seccomp:\t2", "NoNewPrivs:\t1", "Pid:\t7"] {
            assert!(is_bare(bare), "{bare}");
        }
        for not in ["CapBnd:\t0000000000000020", "Seccomp:\t0", "NoNewPrivs:\t0"] {
            assert!(!is_bare(not), "{not}");
        }
    }
}
