//! System calls that the new version uses and the old one never did, each in a short run of its own.
//!
//! All of them are reported. By default only those refuse that a node has no use for and an attack does: they reach into other
//! processes, into the kernel, or into what the sandbox and a service manager build walls of. The sandbox refuses them all; a
//! release that has begun to try is told apart from one that always did. Whatever reads, writes, waits, maps, talks, or starts
//! threads and programs comes and goes with compilers and libraries, and says nothing by its name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What a node has no use for.
const DANGEROUS: [&str; 46] = [
    // Other processes.
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "kcmp",
    "process_madvise",
    // The kernel, and what it runs.
    "bpf",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "perf_event_open",
    "userfaultfd",
    "ioperm",
    "iopl",
    "modify_ldt",
    "syslog",
    "reboot",
    "lookup_dcookie",
    // Walls: mounts, namespaces, control over who one is.
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "setns",
    "unshare",
    "open_by_handle_at",
    "fanotify_init",
    // Keys of the kernel, and of others.
    "add_key",
    "request_key",
    "keyctl",
    // The machine's settings.
    "swapon",
    "swapoff",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "acct",
];

/// System calls of the new version that the old one never made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// By name.
    pub new: BTreeSet<String>,
    /// Those of them that a node has no use for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dangerous: BTreeSet<String>,
}

impl Calls {
    pub(super) fn beside(new: &BTreeSet<String>, old: &BTreeSet<String>) -> Self {
        let new: BTreeSet<_> = new.difference(old).cloned().collect();
        let is_dangerous = |name: &&String| DANGEROUS.contains(&name.as_str());
        Self { dangerous: new.iter().filter(is_dangerous).cloned().collect(), new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_old_version_never_did_and_no_node_needs_is_dangerous() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let calls =
            Calls::beside(&set(&["read", "statx", "ptrace", "bpf"]), &set(&["read", "bpf"]));
        assert_eq!(calls.new, set(&["ptrace", "statx"]));
        assert_eq!(calls.dangerous, set(&["ptrace"]));
    }
}
