//! How long others are waited for: a server for one file, a client of the machine for its work.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An hour: a gigabyte at 2.3 Mbit/s.
pub const DEFAULT: u64 = 3600;

static SECONDS: AtomicU64 = AtomicU64::new(DEFAULT);

/// From now on, so many seconds; at least one.
pub fn set(seconds: u64) {
    SECONDS.store(seconds.max(1), Ordering::Relaxed);
}

/// How long that is now.
pub(crate) fn longest() -> Duration {
    Duration::from_secs(SECONDS.load(Ordering::Relaxed))
}

/// What is told of somebody who takes longer.
pub(crate) fn over() -> io::Error {
    let seconds = longest().as_secs();
    let what = format!("it took longer than {seconds} seconds (--fetch-seconds)");
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// A reader that comes to an end in time, however little each read brings; and at a signal.
pub(crate) struct Patient<R> {
    inner: R,
    end: Instant,
}

impl<R> Patient<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, end: Instant::now() + longest() }
    }
}

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        crate::interrupt::check()?;
        if Instant::now() >= self.end {
            return Err(over());
        }
        self.inner.read(buffer)
    }
}
