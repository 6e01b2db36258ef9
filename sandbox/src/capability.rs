//! Which protections this machine can give, each by its name.

use serde::{Deserialize, Serialize};

use crate::link;
use crate::wire::{Errand, Event};

pub(crate) const USER_NAMESPACES: &str = "user namespaces";
pub(crate) const PRIVATE_USER: &str = "private user id";
pub(crate) const NAMESPACES: &str = "namespaces";
pub(crate) const MOUNTS: &str = "mount attributes";
pub(crate) const PROC: &str = "own /proc";
pub(crate) const LANDLOCK: &str = "landlock";
pub(crate) const SECCOMP: &str = "seccomp";
pub(crate) const NOTICES: &str = "call notices";
pub(crate) const EYE: &str = "packet eye";
pub(crate) const SINKHOLE: &str = "sinkhole";
pub(crate) const PROGRAMS: &str = "programs";
pub(crate) const CLOCK: &str = "clock";
pub(crate) const CGROUP_MEMORY: &str = "memory limit";
pub(crate) const CGROUP_PROCESSES: &str = "process group limit";
pub(crate) const PROCESSORS: &str = "processors";
pub(crate) const OPEN_FILES: &str = "open files";
pub(crate) const OVERLAY: &str = "overlay";
pub(crate) const ID_MAP: &str = "id-mapped mount";

/// All that is probed, with what it is for. The last names of [`Error::Missing`](crate::Error::Missing),
/// "processors" and "open files", depend on how many are asked for; "id-mapped mount" on the file system that is
/// to be seen through one, as "overlay" does too.
pub(crate) const ALL: [(&str, &str); 15] = [
    (PRIVATE_USER, "root's payloads run as a kernel user that nobody else is"),
    (USER_NAMESPACES, "the payload's user ids and rights mean nothing outside"),
    (NAMESPACES, "own processes, network, IPC, host name and control group root"),
    (MOUNTS, "a read-only tree with only the given mounts (Linux 5.12)"),
    (PROC, "a /proc that shows the sandbox's processes only"),
    (LANDLOCK, "a second wall around what may be written (Linux 5.19)"),
    (SECCOMP, "system calls that a payload has no use for are refused"),
    (
        PROGRAMS,
        "what a payload writes, to files or to memory, is not executed, where that is asked for",
    ),
    (NOTICES, "which process did it, and which system calls it used (Linux 5.19)"),
    (SINKHOLE, "every address and name leads to the sandbox itself"),
    (EYE, "every attempt to reach somebody is seen"),
    (CLOCK, "another time of day for the payload"),
    (
        CGROUP_MEMORY,
        "memory of all processes together is bounded; needed when a limit is asked for",
    ),
    (OVERLAY, "state that the payload changes, above a snapshot that stays as it is"),
    (CGROUP_PROCESSES, "a second bound on the number of processes; a resource limit is the first"),
];

/// One protection, and why it is missing if it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name, as in [`Error::Missing`](crate::Error::Missing).
    pub name: &'static str,
    /// What it is for.
    pub what: &'static str,
    /// `None` when the machine has it, else what is missing.
    pub missing: Option<String>,
}

/// A probe's result on its way from the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) missing: Option<String>,
}

/// Probes each protection of this machine for this user, in a process of its own that leaves nothing
/// behind. Takes some milliseconds. "private user id" is listed for root only: a plain user runs payloads as
/// itself, behind the other walls.
pub fn capabilities() -> Vec<Capability> {
    let found = match link::errand(&Errand::Probe) {
        Ok(Event::Probed(found)) => Ok(found),
        Ok(_) => Err("the probe gave no answer".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let root = nix::unistd::geteuid().is_root();
    ALL.into_iter()
        .filter(|(name, _)| root || *name != PRIVATE_USER)
        .map(|(name, what)| {
            let missing = match &found {
                Ok(found) => match found.iter().find(|one| one.name == name) {
                    Some(one) => one.missing.clone(),
                    None => Some("not probed, because an earlier one is missing".to_owned()),
                },
                Err(why) => Some(why.clone()),
            };
            Capability { name, what, missing }
        })
        .collect()
}
