//! The payload's output, bounded: what fits goes to the caller's log, the rest is read and dropped.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

/// A running pump; ends when nobody can write any more.
#[derive(Debug)]
pub(crate) struct Pump(JoinHandle<bool>);

impl Pump {
    /// Copies from `pipe` to `log`, at most `limit` bytes.
    pub(crate) fn start(pipe: OwnedFd, log: File, limit: u64) -> io::Result<Self> {
        let thread = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || copy(&mut File::from(pipe), log, limit))?;
        Ok(Self(thread))
    }

    /// Waits for the end, and says whether something was dropped.
    pub(crate) fn finish(self) -> bool {
        self.0.join().unwrap_or(true)
    }
}

fn copy(pipe: &mut impl Read, mut log: impl Write, mut room: u64) -> bool {
    let mut buffer = vec![0; 64 << 10];
    let mut dropped = false;
    loop {
        let read = match pipe.read(&mut buffer) {
            Ok(0) => return dropped,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return true,
        };
        let fits = read.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let kept = read.get(..fits).unwrap_or_default();
        room -= kept.len() as u64;
        dropped |= kept.len() < read.len();
        // A full disk must not stop the payload in the middle of a word; it shows as dropped output.
        if log.write_all(kept).is_err() {
            dropped = true;
            room = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_told() {
        let mut log = Vec::new();
        assert!(copy(&mut &b"abcdef"[..], &mut log, 4));
        assert_eq!(log, b"abcd");
        let mut log = Vec::new();
        assert!(!copy(&mut &b"abcd"[..], &mut log, 4));
        assert_eq!(log, b"abcd");
    }
}
