//! What the tracer tells of the machine: its kernel, its memory and its disks.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::answer::{error, give};
use super::registers::Call;
use super::{is, memory};
use crate::options::Mask;

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

/// A call that the kernel carries out, and whose result is then rewritten at this address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk(u64);

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

    /// The answer to a call that tells of the machine; `None` for one that is not answered here.
    pub(super) fn answer(&self, call: &Call) -> io::Result<Option<i64>> {
        let given = match call.number() {
            libc::SYS_uname => give(call, 0, &self.names)?,
            libc::SYS_sysinfo => give(call, 0, self.memory())?,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_ustat => Some(error(Errno::ENOSYS)),
            _ => return Ok(None),
        };
        Ok(Some(given.unwrap_or(0)))
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

    /// Whether the call is about a disk.
    pub(super) fn disk(&self, call: &Call) -> Option<Disk> {
        let about_a_disk = matches!(call.number(), libc::SYS_statfs | libc::SYS_fstatfs);
        about_a_disk.then(|| Disk(call.argument(1)))
    }

    /// Rewrites what the kernel told of a disk, once it has.
    pub(super) fn rewrite(&self, Disk(address): Disk, pid: Pid) -> io::Result<()> {
        if Call::read(pid)?.result() != 0 {
            return Ok(());
        }
        // type, block size, blocks, free, available, files, free files, id, name length, fragment size, flags
        let mut words = [0; 11];
        match memory::read(pid, address, &mut words) {
            Err(error) if is(&error, Errno::EFAULT) => return Ok(()),
            other => other?,
        }
        self.change(&mut words);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        match memory::write(pid, address, &bytes) {
            Err(error) if is(&error, Errno::EFAULT) => Ok(()),
            other => other,
        }
    }

    fn change(&self, words: &mut [i64; 11]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_disks_of_different_machines_look_alike() {
        let shown = Shown::new(Mask::default()).unwrap();
        let mut ext4 = [0xef53, 4096, 1000, 10, 9, 500, 3, 77, 255, 4096, 0x1020];
        let mut xfs = [0x5846_5342, 512, 7, 6, 6, 5, 4, 33, 200, 512, 0x420];
        shown.change(&mut ext4);
        shown.change(&mut xfs);
        assert_eq!(ext4, xfs);
        let mut proc = [libc::PROC_SUPER_MAGIC, 4096, 0, 0, 0, 0, 0, 5, 255, 4096, 0x2f];
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
