//! What leaves a sandbox: one stream, the build's output. A payload never has a place on the machine's disk to write to,
//! nor one whose names the builder would open.
//!
//! ```text
//! text …  MARK "step 1\n"  text …  MARK "output 0\n"  text …  MARK "outputs\n"  tar to the end
//! ```
//!
//! Text goes to the log. A payload that writes marks itself deceives nobody but its own outputs, which are its own
//! anyway.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::script::MARK;

/// The mark after which the rest of the stream is an archive.
pub(super) const ARCHIVE: &str = "outputs";
/// Longest text after a mark, its newline included.
const MAX_WORD: usize = 64;

/// The builder's end of the stream, read by a thread of its own.
pub(super) struct Handover {
    over: Arc<AtomicBool>,
    reader: JoinHandle<io::Result<Handed>>,
}

/// What came.
#[derive(Debug)]
pub(super) struct Handed {
    /// The last mark before the archive's.
    pub(super) last_step: String,
    /// Whether there was more than is taken.
    pub(super) is_over: bool,
    archive: PathBuf,
    archive_length: u64,
}

impl Handover {
    /// Starts reading. At most `log_limit` bytes of text go to `log`, and at most `limit` bytes of an archive to `archive`.
    /// The other end is the build's output.
    pub(super) fn start(
        log: File,
        log_limit: u64,
        archive: &Path,
        limit: u64,
    ) -> io::Result<(Self, File)> {
        let (stream, other_end) = io::pipe()?;
        let over = Arc::new(AtomicBool::new(false));
        let mut sorter = Sorter {
            log: Bounded { to: log, left: log_limit, lost: false },
            archive: Bounded {
                to: File::options().write(true).create_new(true).open(archive)?,
                left: limit,
                lost: false,
            },
            pending: Vec::new(),
            last_step: String::new(),
            in_archive: false,
        };
        let (archive, told) = (archive.to_owned(), Arc::clone(&over));
        let reader = std::thread::Builder::new().name("handover".to_owned()).spawn(move || {
            sorter.read(stream, &told)?;
            Ok(Handed {
                last_step: sorter.last_step,
                is_over: sorter.archive.lost,
                archive,
                archive_length: limit - sorter.archive.left,
            })
        })?;
        Ok((Self { over, reader }, File::from(OwnedFd::from(other_end))))
    }

    /// Whether more came already than is taken.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// What came, when nobody can write any more.
    pub(super) fn finish(self) -> io::Result<Handed> {
        self.reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader was lost")))
    }
}

impl Handed {
    /// The archive as it came; nothing in it has been looked at.
    pub(super) fn archive(&self) -> Option<&Path> {
        (self.archive_length > 0 && !self.is_over).then_some(&*self.archive)
    }
}

/// Takes text, marks and archive apart.
struct Sorter<L, A> {
    log: Bounded<L>,
    archive: Bounded<A>,
    /// What may be the beginning of a mark.
    pending: Vec<u8>,
    last_step: String,
    in_archive: bool,
}

impl<L: Write, A: Write> Sorter<L, A> {
    fn read(&mut self, mut stream: PipeReader, over: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => self.take(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            over.store(self.archive.lost, Ordering::Relaxed);
        }
        self.log.write(&std::mem::take(&mut self.pending))
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.in_archive {
            return self.archive.write(bytes);
        }
        self.pending.extend_from_slice(bytes);
        loop {
            let Some(at) = find(&self.pending, MARK.as_bytes()) else {
                // The last bytes may begin a mark whose rest is on its way; all else goes to the log at once.
                let longest = self.pending.len().min(MARK.len() - 1);
                let begun = (1..=longest)
                    .rev()
                    .find(|n| self.pending.ends_with(&MARK.as_bytes()[..*n]))
                    .unwrap_or(0);
                let sure = self.pending.len() - begun;
                self.log.write(&self.pending[..sure])?;
                self.pending.drain(..sure);
                return Ok(());
            };
            self.log.write(&self.pending[..at])?;
            let word = &self.pending[at + MARK.len()..];
            let end = word.iter().take(MAX_WORD).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    let text = String::from_utf8_lossy(&word[..end]).into_owned();
                    self.pending.drain(..at + MARK.len() + end + 1);
                    if text == ARCHIVE {
                        self.in_archive = true;
                        return self.archive.write(&std::mem::take(&mut self.pending));
                    }
                    self.last_step = text;
                }
                None if word.len() < MAX_WORD => {
                    self.pending.drain(..at);
                    return Ok(());
                }
                None => drop(self.pending.drain(..at + MARK.len())),
            }
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// Writes so much and no more.
struct Bounded<W> {
    to: W,
    left: u64,
    lost: bool,
}

impl<W: Write> Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.lost |= fits < bytes.len();
        self.left -= fits as u64;
        self.to.write_all(&bytes[..fits])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(stream: &[u8], at_once: usize) -> (Vec<u8>, Vec<u8>, String, bool) {
        let bounded = |left| Bounded { to: Vec::new(), left, lost: false };
        let mut sorter = Sorter {
            log: bounded(20),
            archive: bounded(4),
            pending: Vec::new(),
            last_step: String::new(),
            in_archive: false,
        };
        for part in stream.chunks(at_once) {
            sorter.take(part).unwrap();
        }
        let rest = std::mem::take(&mut sorter.pending);
        sorter.log.write(&rest).unwrap();
        (sorter.log.to, sorter.archive.to, sorter.last_step, sorter.archive.lost)
    }

    #[test]
    fn text_marks_and_archive_are_told_apart_however_they_arrive() {
        let stream = format!("a{MARK}step 1\nb\n{MARK}step 2\n{MARK}{ARCHIVE}\n{MARK}xyz");
        for at_once in 1..stream.len() {
            let (log, archive, step, lost) = sorted(stream.as_bytes(), at_once);
            assert_eq!((log, archive), (b"ab\n".to_vec(), MARK.as_bytes()[..4].to_vec()));
            assert_eq!((step.as_str(), lost), ("step 2", true));
        }
    }

    #[test]
    fn a_mark_without_an_end_is_text() {
        let stream = [MARK.as_bytes(), &[b'x'; 100]].concat();
        let (log, archive, step, _) = sorted(&stream, 7);
        assert_eq!((log.len(), archive.len(), step.as_str()), (20, 0, ""));
    }
}
