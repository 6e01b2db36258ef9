//! By what a payload can tell that it is not on a real machine.

/// What a payload can tell of a sandbox with a sinkhole, by name, with what it sees. A payload that behaves only
/// where it sees none of these is not caught by watching it; it is caught by what it does later, on the first node.
/// The phone-home suite asserts that each is visible, so that the list cannot promise less than there is; it may be
/// incomplete: sizes and times (processors, speed, latencies) tell too.
pub const TELLTALES: &[(&str, &str)] = &[
    ("seccomp", "/proc/self/status names a system call filter"),
    ("no-new-privileges", "/proc/self/status says that no program gains rights"),
    ("user-map", "/proc/self/uid_map has one user"),
    ("few-processes", "its parent is process 1, and there are hardly any others"),
    ("machine-id", "/etc/machine-id is made up"),
    ("only-loopback", "there is no network interface but lo"),
    (
        "memory-root",
        "the root directory is a file system in memory, with single directories mounted into it",
    ),
    ("no-io-uring", "the kernel seems to lack io_uring"),
    ("every-name-resolves", "every name has an address, of 198.18.0.0/15 or fdc5:c0de::/32"),
    (
        "instant-refusal",
        "every connection is refused at once, or taken and closed where first bytes are asked for",
    ),
];
