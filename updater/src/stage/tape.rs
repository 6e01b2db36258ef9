//! What passes while a tar is read: hashed and counted whole, recorded but for the files' own bytes.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;

/// Bytes of headers and padding, which are kept in memory.
const MAX_HEADERS: usize = 64 << 20;

/// What was recorded since the last cut.
#[derive(Clone, Default)]
pub(super) struct Tape(Rc<RefCell<Recording>>);

#[derive(Default)]
struct Recording {
    bytes: Vec<u8>,
    total: usize,
    skipping: bool,
}

impl Tape {
    /// Hands over what was recorded, and begins anew.
    pub(super) fn cut(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().bytes)
    }

    /// Whether what passes from here on is a file's own.
    pub(super) fn skip(&self, skip: bool) {
        self.0.borrow_mut().skipping = skip;
    }
}

/// A reader of at most so many bytes that hashes all and records onto a tape.
pub(super) struct Tee<R> {
    inner: R,
    left: u64,
    hasher: Hasher,
    tape: Tape,
}

impl<R> Tee<R> {
    pub(super) fn new(inner: R, limit: u64, tape: Tape) -> Self {
        Self { inner, left: limit, hasher: Hasher::default(), tape }
    }

    /// The digest of all that passed.
    pub(super) fn finish(self) -> Sha256 {
        self.hasher.finish().0
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        self.left = self.left.checked_sub(read as u64).ok_or_else(too_large)?;
        self.hasher.update(&buffer[..read]);
        let mut tape = self.tape.0.borrow_mut();
        if !tape.skipping {
            tape.total += read;
            if tape.total > MAX_HEADERS {
                return Err(too_large());
            }
            tape.bytes.extend_from_slice(&buffer[..read]);
        }
        Ok(read)
    }
}
