//! What pointers of a payload that stands still lead to, read a page at a time: pages are there as a whole.

use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::sys;

const PAGE: u64 = 4096;

/// The memory of a thread that stands still, and the page of it that was read last: words and texts lie close together.
pub(crate) struct Memory {
    thread: Pid,
    page: Option<(u64, Vec<u8>)>,
}

impl Memory {
    pub(crate) fn of(thread: Pid) -> Self {
        Self { thread, page: None }
    }

    /// The machine word at `address`; `EFAULT` where there is none.
    pub(crate) fn word(&mut self, address: u64) -> io::Result<u64> {
        if let Some(bytes) = self.from(address)?.first_chunk() {
            return Ok(u64::from_ne_bytes(*bytes));
        }
        // It lies across two pages.
        let mut bytes = [0; 8];
        for (at, byte) in (address..).zip(&mut bytes) {
            *byte = *self.from(at)?.first().ok_or(Errno::EFAULT)?;
        }
        Ok(u64::from_ne_bytes(bytes))
    }

    /// The text at `address` up to its zero, or its first `most` bytes.
    pub(crate) fn text(&mut self, mut address: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < most {
            let rest = self.from(address)?;
            let rest = rest.get(..most - text.len()).unwrap_or(rest);
            if let Some(end) = rest.iter().position(|byte| *byte == 0) {
                text.extend(rest.iter().take(end));
                return Ok(text);
            }
            address = address.checked_add(rest.len() as u64).ok_or(Errno::EFAULT)?;
            text.extend(rest);
        }
        Ok(text)
    }

    /// The bytes from `address` to the end of its page.
    fn from(&mut self, address: u64) -> io::Result<&[u8]> {
        let start = address - address % PAGE;
        if self.page.as_ref().is_none_or(|(at, _)| *at != start) {
            let mut bytes = vec![0; PAGE as usize];
            if sys::read_memory(self.thread, start, &mut bytes)? < bytes.len() {
                return Err(Errno::EFAULT.into());
            }
            self.page = Some((start, bytes));
        }
        let page = self.page.as_ref().map(|(_, bytes)| bytes.as_slice());
        Ok(page.and_then(|bytes| bytes.get((address - start) as usize..)).unwrap_or_default())
    }
}
