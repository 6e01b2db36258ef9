//! Reading and writing the memory of a stopped tracee.

use std::io::{self, IoSliceMut};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

pub(super) use crate::sys::write_memory as write;

/// Bytes of a machine word on the architectures that we support.
pub(super) const WORD: usize = 8;

/// Reads `words.len()` machine words at `address`; `EFAULT` if not all of them are readable.
pub(super) fn read(pid: Pid, address: u64, words: &mut [i64]) -> io::Result<()> {
    let mut bytes = vec![0_u8; words.len() * WORD];
    let remote = [RemoteIoVec { base: address as usize, len: bytes.len() }];
    let length = bytes.len();
    if process_vm_readv(pid, &mut [IoSliceMut::new(&mut bytes)], &remote)? != length {
        return Err(Errno::EFAULT.into());
    }
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(WORD)) {
        *word = i64::from_ne_bytes(bytes.try_into().map_err(io::Error::other)?);
    }
    Ok(())
}

/// Writes `words` at `address` with the rights of a debugger. Unlike [`write`], this grows the stack
/// if `address` lies below what the tracee has touched of it.
pub(super) fn poke(pid: Pid, address: u64, words: &[i64]) -> io::Result<()> {
    for (index, word) in words.iter().enumerate() {
        let to = (address as usize).wrapping_add(index * WORD);
        ptrace::write(pid, std::ptr::without_provenance_mut(to), *word)?;
    }
    Ok(())
}
