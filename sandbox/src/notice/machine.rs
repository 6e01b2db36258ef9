//! What a payload is told of the machine: its kernel, its memory and its disks.
//!
//! The mount namespace and the root are init's too, so that init asks the kernel about a disk in the payload's stead, and
//! changes the answer.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::process;
use crate::memory::Memory;
use crate::options::Mask;
use crate::sys;

/// The length of one field of `struct utsname`.
const FIELD: usize = 65;
/// The block size that every disk has.
const BLOCK: u64 = 4096;
/// Kinds of file systems that this sandbox makes itself: these are told.
const OWN_KINDS: [i64; 2] = [libc::TMPFS_MAGIC, libc::PROC_SUPER_MAGIC];
/// Flags of `struct statfs` that the sandbox decides; 0x20 says that they are there at all.
const OWN_FLAGS: i64 =
    (libc::ST_RDONLY | libc::ST_NOSUID | libc::ST_NODEV | libc::ST_NOEXEC | 0x20) as i64;

/// A machine that is not there.
#[derive(Debug)]
pub(super) struct Shown {
    mask: Mask,
    /// `struct utsname`, whole.
    names: Vec<u8>,
}

impl Shown {
    /// The mask over this process's own names: it shares the payload's host name.
    pub(super) fn new(mask: Mask) -> io::Result<Self> {
        let names = nix::sys::utsname::uname()?;
        let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
        let fields = [
            text(names.sysname()),
            text(names.nodename()),
            mask.kernel_release.clone(),
            mask.kernel_version.clone(),
            text(names.machine()),
            text(names.domainname()),
        ];
        let mut bytes = vec![0; FIELD * fields.len()];
        for (place, field) in bytes.chunks_mut(FIELD).zip(&fields) {
            let length = field.len().min(FIELD - 1);
            place[..length].copy_from_slice(&field.as_bytes()[..length]);
        }
        Ok(Self { mask, names: bytes })
    }

    /// The calls that are answered.
    pub(super) const CALLS: &[i64] = &[
        libc::SYS_uname,
        libc::SYS_sysinfo,
        libc::SYS_statfs,
        libc::SYS_fstatfs,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ustat,
    ];

    /// What `thread` gets of a call, and where it is to be written. Fails with what the call is to fail with.
    pub(super) fn answer(
        &self,
        thread: Pid,
        number: i64,
        [first, second, ..]: [u64; 6],
    ) -> io::Result<(u64, Vec<u8>)> {
        Ok(match number {
            libc::SYS_uname => (first, self.names.clone()),
            libc::SYS_sysinfo => (first, self.memory().into()),
            libc::SYS_statfs => (second, self.disk(&named(thread, first)?)?),
            libc::SYS_fstatfs => {
                let descriptor = i32::try_from(first & 0xffff_ffff).map_err(|_| Errno::EBADF)?;
                let process = process::group(thread).ok_or(Errno::ESRCH)?;
                (second, self.disk(&sys::descriptor_of(process, descriptor)?)?)
            }
            _ => return Err(Errno::ENOSYS.into()),
        })
    }

    /// `struct sysinfo`: a machine that has just started and does nothing else.
    fn memory(&self) -> [u8; 112] {
        let mut bytes = [0; 112];
        let uptime = Duration::from_secs(1).as_secs();
        for (at, value) in [(0, uptime), (32, self.mask.memory), (40, self.mask.memory / 2)] {
            bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        // Processes, and bytes of a unit of memory.
        bytes[80..82].copy_from_slice(&1_u16.to_ne_bytes());
        bytes[104..108].copy_from_slice(&1_u32.to_ne_bytes());
        bytes
    }

    /// `struct statfs` of the disk that a file is on.
    fn disk(&self, file: &OwnedFd) -> io::Result<Vec<u8>> {
        let mut words = sys::disk_of(file)?;
        self.change(&mut words);
        Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    /// Changes type, block size, blocks, free, available, files, free files, id, name length, fragment size and flags.
    fn change(&self, words: &mut sys::Disk) {
        if !OWN_KINDS.contains(&words[0]) {
            words[0] = libc::TMPFS_MAGIC;
        }
        let count = |of: u64| i64::try_from(of).unwrap_or(i64::MAX);
        // Something like /proc has no size.
        if words[2] != 0 {
            let (blocks, files) = (self.mask.disk / BLOCK, self.mask.disk / BLOCK / 4);
            words[2..7].copy_from_slice(&[
                count(blocks),
                count(blocks / 2),
                count(blocks / 2),
                count(files),
                count(files / 2),
            ]);
        }
        words[1] = count(BLOCK);
        words[7] = 0;
        words[8] = 255;
        words[9] = count(BLOCK);
        words[10] &= OWN_FLAGS;
    }
}

/// The file that a text in a thread's memory names, as the thread would find it.
fn named(thread: Pid, pointer: u64) -> io::Result<OwnedFd> {
    const LONGEST: usize = 4096;
    let text = Memory::of(thread).text(pointer, LONGEST)?;
    if text.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    if text.len() == LONGEST {
        return Err(Errno::ENAMETOOLONG.into());
    }
    let path = PathBuf::from(OsString::from_vec(text));
    let process = PathBuf::from(format!("/proc/{thread}"));
    // What is itself there, is init here.
    let path = match ["/proc/self", "/proc/thread-self"].map(|own| path.strip_prefix(own)) {
        [Ok(rest), _] | [_, Ok(rest)] => process.join(rest),
        _ => process.join("cwd").join(path),
    };
    Ok(open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_disks_of_different_machines_look_alike() {
        let shown = Shown::new(Mask::default()).unwrap();
        let mut ext4 = [0xef53, 4096, 1000, 10, 9, 500, 3, 77, 255, 4096, 0x1020, 0, 0, 0, 0];
        let mut xfs = [0x5846_5342, 512, 7, 6, 6, 5, 4, 33, 200, 512, 0x420, 0, 0, 0, 0];
        shown.change(&mut ext4);
        shown.change(&mut xfs);
        assert_eq!(ext4, xfs);
        let mut proc =
            [libc::PROC_SUPER_MAGIC, 4096, 0, 0, 0, 0, 0, 5, 255, 4096, 0x2f, 0, 0, 0, 0];
        shown.change(&mut proc);
        assert_eq!(proc[2..8], [0; 6]);
    }

    #[test]
    fn a_kernels_name_is_the_masks() {
        let shown = Shown::new(Mask::default()).unwrap();
        let release = &shown.names[2 * FIELD..3 * FIELD];
        assert!(release.starts_with(b"6.1.0-countersign\0"));
        assert_eq!(shown.names.len(), 390);
    }
}
