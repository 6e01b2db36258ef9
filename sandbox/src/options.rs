//! The options of a sandbox: mounts, identity, machine, limits, network.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing in the payload's tree. Mounts are made in the given order, so a later one may lie in or
/// cover an earlier one. `to` is absolute, inside; missing directories above it are made, but never in a
/// directory of the caller's (a mount point inside another mount must be there already). `from` may be
/// relative to the caller's working directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Mount {
    /// A file or directory of the caller's, with all that is mounted below it, to be read and executed.
    /// Symbolic links in `from` are followed. As root, the payload reads it as a stranger: what only its
    /// owner may read stays unreadable. A socket in it can be connected to.
    ReadOnly {
        /// The path outside.
        from: PathBuf,
        /// The path inside.
        to: PathBuf,
    },
    /// A scratch directory which the caller gives to the payload. As root, everything in it changes owner
    /// to the payload's kernel user while it runs, and to the directory's former owner after; set-user-id
    /// bits are dropped then. A file in it with a hard link outside is refused. As a plain user, the payload
    /// writes there as the caller. A socket, FIFO or device in it is refused for everybody: a process
    /// outside may be at its other end.
    Writable {
        /// The path outside.
        from: PathBuf,
        /// The path inside.
        to: PathBuf,
    },
    /// A directory of the caller's that the payload sees as its own and may change, while nothing in it
    /// changes: what the payload writes, changes and removes goes to `upper` ([`written`](crate::written)
    /// lists it), and a second payload with another `upper` sees what the first one saw. Nobody else should
    /// write `lower` meanwhile. A socket, FIFO, device or further file system in it is refused, before and
    /// after. As root, `lower` is seen through an id-mapped mount: what its owner owns belongs to the payload,
    /// what others own to nobody that runs; a plain user must own all of it. A file with several names is one file no more where the
    /// payload changes it; as a plain user, directories that were there cannot be renamed (`EXDEV`).
    Overlay {
        /// The directory outside that stays as it is.
        lower: PathBuf,
        /// A directory of the caller's, given to the payload as [`Mount::Writable`] is: empty, or with what an
        /// earlier payload wrote above the same `lower`. Its mode and owner are those of `to`.
        upper: PathBuf,
        /// An empty directory on the file system of `upper`, for the kernel; it is empty again after.
        work: PathBuf,
        /// The path inside.
        to: PathBuf,
    },
    /// An empty directory in memory that the payload may write.
    Tmpfs {
        /// The path inside.
        to: PathBuf,
        /// Its size, in bytes.
        bytes: u64,
        /// How many files and directories it holds at most.
        inodes: u64,
    },
    /// A file with this content, read-only like the directory it lies in.
    File {
        /// The path inside.
        to: PathBuf,
        /// The content.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// The path inside.
        to: PathBuf,
        /// What it points to, as written.
        target: PathBuf,
    },
    /// An empty, read-only directory.
    Dir {
        /// The path inside.
        to: PathBuf,
    },
}

impl Mount {
    /// The directory of the caller's that is given to the payload to be written, if it is such a mount.
    pub(crate) fn scratch(&self) -> Option<&Path> {
        match self {
            Self::Writable { from, .. } => Some(from),
            Self::Overlay { upper, .. } => Some(upper),
            _ => None,
        }
    }
}

/// Who and where the payload believes it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user's and the group's name.
    pub user: String,
    /// The user id, as seen inside.
    pub uid: u32,
    /// The group id, as seen inside.
    pub gid: u32,
    /// The host name.
    pub hostname: String,
    /// The NIS domain name.
    pub domain: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            user: "build".to_owned(),
            uid: 1000,
            gid: 1000,
            hostname: "countersign".to_owned(),
            domain: "localdomain".to_owned(),
        }
    }
}

/// Which machine the payload believes to run on. Machine id, boot id, memory size, uptime, load and
/// kernel version in `/proc` and `/etc` are always made up; system calls that tell them are answered as well
/// where there is a [`Mask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// How many processors `sysconf`, `/sys`, `/proc` and the affinity mask show; `None`: as many as the
    /// caller may use. More than the caller may use is refused.
    pub cpus: Option<u32>,
    /// What time it is.
    pub clock: Clock,
    /// Whether addresses are randomised.
    pub aslr: bool,
    /// What `uname`, `sysinfo` and `statfs` show; `None`: the truth.
    pub mask: Option<Mask>,
    /// Where random bytes come from.
    pub random: Random,
    /// Endings of command line words that are told of in [`Ended::seen`](crate::Ended::seen), such as
    /// `-march=native`.
    pub watch: Vec<String>,
    /// Seeds pauses and priorities that disturb the order in which processes and threads begin, to bring races
    /// out. The order is not repeated by the same seed: the machine has a say in it.
    pub jitter: Option<u64>,
}

impl Machine {
    /// Whether the payload's processes are attended by a tracer.
    pub(crate) fn is_attended(&self) -> bool {
        self.clock != Clock::Real || self.random != Random::Real || self.jitter.is_some()
    }

    /// Whether some of their calls are told to init, and answered by it.
    pub(crate) fn is_shown(&self) -> bool {
        self.mask.is_some() || !self.watch.is_empty()
    }
}

/// What a payload is told of the kernel and the hardware, by system calls and in `/proc` alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// The kernel's release (`uname -r`).
    pub kernel_release: String,
    /// The kernel's version (`uname -v`).
    pub kernel_version: String,
    /// The machine id, and the end of the boot id.
    pub machine_id: u64,
    /// Bytes of memory; half of it seems to be free.
    pub memory: u64,
    /// Bytes of every disk, of which half seem to be free. What a disk is formatted with is not told either.
    pub disk: u64,
}

impl Default for Mask {
    fn default() -> Self {
        Self {
            kernel_release: "6.1.0-countersign".to_owned(),
            kernel_version: "#1 SMP".to_owned(),
            machine_id: 1,
            memory: 4 << 30,
            disk: 64 << 30,
        }
    }
}

/// Where random bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Random {
    /// The kernel.
    Real,
    /// A stream that this number decides, for each process by its place in the tree and its command line:
    /// **no secret can be made of it**. It answers `getrandom`, the bytes that a program gets at its start, and
    /// `/dev/random` and `/dev/urandom`, which are files of [`Random::DEVICE_BYTES`] bytes then. Instructions of
    /// the processor (`RDRAND`, `RDTSC`) are not reached.
    Held(u64),
}

impl Random {
    /// How long held `/dev/random` and `/dev/urandom` are, in bytes.
    pub const DEVICE_BYTES: usize = 4 << 20;
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: None,
            clock: Clock::Real,
            aslr: true,
            mask: None,
            random: Random::Real,
            watch: Vec::new(),
            jitter: None,
        }
    }
}

/// What time it is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// The machine's own time.
    Real,
    /// The machine's time plus these seconds.
    Offset(i64),
    /// This time, in seconds since 1970, at the payload's start; it advances from there.
    Held(i64),
}

/// What the payload may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all processes together, in bytes, by a cgroup; asking for it where none can be had is
    /// refused. Memory file systems count too.
    pub memory: Option<u64>,
    /// Processes and threads at one time.
    pub processes: u64,
    /// How long it may run; then it is killed and [`Exit::WallTime`](crate::Exit::WallTime) is the result.
    pub wall: Option<Duration>,
    /// The size of any one file written, in bytes.
    pub file_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: None, processes: 1024, wall: None, file_bytes: 1 << 40, open_files: 1024 }
    }
}

/// What lies beyond the payload's loopback interface. Nothing real, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Nothing: other addresses are unreachable. Attempts are counted where
    /// [`Sandbox::attribute`](crate::Sandbox::attribute) has them told.
    None,
    /// A sinkhole: every address is this machine, every name resolves, connections are refused at once,
    /// and each attempt is counted as an [`Attempt`](crate::Attempt). Port 53 belongs to the sinkhole.
    Sinkhole,
}
