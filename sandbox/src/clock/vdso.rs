//! Hides the vDSO from a program that has just been executed, so that it asks the kernel the time, and gives it
//! other random bytes to start with.
//!
//! The page stays mapped, since signal handlers return through it on some architectures; only the
//! auxiliary vector, from which every C library and Go learn where it is, says nothing about it.
//!
//! ```text
//! sp -> argc | argv … | 0 | environment … | 0 | (type, value) … | (0, 0)
//! ```

use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::is;
use super::memory::{self, WORD};
use crate::memory::Memory;

/// The types of linux/auxvec.h as they are on the stack.
const AT_NULL: i64 = libc::AT_NULL as i64;
const AT_IGNORE: i64 = libc::AT_IGNORE as i64;
const AT_SYSINFO_EHDR: i64 = libc::AT_SYSINFO_EHDR as i64;
const AT_RANDOM: i64 = libc::AT_RANDOM as i64;

/// Words of arguments and environment that are looked through. The kernel allows 6 MiB of them.
const LIMIT: usize = 1 << 20;

/// Rewrites the auxiliary vector of `pid`, stopped by its `execve` with the stack pointer `stack`, and the bytes
/// that `AT_RANDOM` points to where there are others.
///
/// A stack that is not of 64-bit words ends in nonsense, which is no error: the filter kills such a
/// program at its first system call.
pub(super) fn hide(pid: Pid, stack: u64, random: Option<&[u8]>) -> io::Result<()> {
    match entries(&mut Words { memory: Memory::of(pid), next: stack, left: LIMIT }) {
        Ok(Entries { vdso, bytes }) => {
            // None on a kernel started with vdso=0.
            if let Some(address) = vdso {
                memory::write(pid, address, &AT_IGNORE.to_ne_bytes())?;
            }
            if let (Some(address), Some(random)) = (bytes, random) {
                memory::write(pid, address, random)?;
            }
            Ok(())
        }
        Err(error) if is(&error, Errno::EFAULT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is looked for in the auxiliary vector.
#[derive(Default)]
struct Entries {
    /// The address of the type word of `AT_SYSINFO_EHDR`.
    vdso: Option<u64>,
    /// What `AT_RANDOM` points to.
    bytes: Option<u64>,
}

fn entries(words: &mut Words) -> io::Result<Entries> {
    let arguments = words.next()?;
    for _ in 0..=arguments {
        words.next()?;
    }
    while words.next()? != 0 {}
    let mut found = Entries::default();
    loop {
        let address = words.next;
        let kind = words.next()?;
        if kind == AT_NULL {
            return Ok(found);
        }
        let value = words.next()?;
        match kind {
            AT_SYSINFO_EHDR => found.vdso = Some(address),
            AT_RANDOM => found.bytes = Some(value as u64),
            _ => {}
        }
    }
}

/// The words from an address upwards.
struct Words {
    memory: Memory,
    /// The address of the next word.
    next: u64,
    left: usize,
}

impl Words {
    fn next(&mut self) -> io::Result<i64> {
        let word = self.memory.word(self.next)?;
        self.left = self.left.checked_sub(1).ok_or(Errno::EFAULT)?;
        self.next += WORD as u64;
        Ok(word.cast_signed())
    }
}
