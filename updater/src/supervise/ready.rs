//! Readiness that has to be looked for: `connect` asks the first listening socket until it answers, `log` reads what the
//! node prints until a line matches. `notify` needs no looking.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use countersign_metadata::node::Ready;
use regex_lite::Regex;

use super::core::Event;
use super::{probe, process};
use crate::generation::Launch;

/// One try.
const TRY: Duration = Duration::from_secs(2);

/// Longest line that is looked at, in bytes; the rest of it is passed over.
const MAX_LINE: usize = 16 << 10;

/// Watches process `pid`, which is start number `start`, until it is ready or has ended.
pub(super) fn watch(launch: &Launch, start: u64, pid: i32, log: Log, events: Sender<Event>) {
    let Some(mut is_ready) = question(launch, log) else { return };
    let began = process::stat(pid).map(|stat| stat.start);
    thread::spawn(move || {
        let lives = || process::stat(pid).is_some_and(|s| Some(s.start) == began && s.state != 'Z');
        while lives() {
            if is_ready() {
                let _ended = events.send(Event::Ready(start));
                return;
            }
            process::breathe();
        }
    });
}

fn question(launch: &Launch, mut log: Log) -> Option<Box<dyn FnMut() -> bool + Send>> {
    match launch.ready {
        Ready::Notify => None,
        Ready::Log => {
            let line = Regex::new(launch.ready_line.as_deref()?).ok()?;
            Some(Box::new(move || log.matches(&line)))
        }
        Ready::Connect => {
            let (_, first) = launch.listen.first().cloned()?;
            let health = launch.health.clone();
            let asked: SocketAddr =
                health.as_ref().and_then(|h| launch.address(&h.listen)).unwrap_or(first);
            Some(Box::new(move || {
                let answer = match &health {
                    Some(health) => probe::http(asked, &health.path, TRY),
                    None => probe::connection(asked, TRY),
                };
                answer.is_ok()
            }))
        }
    }
}

/// A growing log, read from a place in it.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    place: u64,
}

impl Log {
    /// What was written from byte `place` on, also if the log was rotated since.
    pub(crate) fn from_place(path: &Path, place: u64) -> Self {
        Self { path: path.to_owned(), place }
    }

    /// Whether a whole line that was not read yet matches. A log that was cut off is read from its beginning.
    pub(crate) fn matches(&mut self, line: &Regex) -> bool {
        let Ok(mut file) = File::open(&self.path) else { return false };
        if file.metadata().map_or(0, |meta| meta.len()) < self.place {
            let place = std::mem::take(&mut self.place);
            let rotated = self.path.with_extension("log.1");
            if fs::metadata(&rotated).is_ok_and(|meta| meta.len() >= place) {
                let mut before = Self { path: rotated, place };
                if before.matches(line) {
                    return true;
                }
            }
        }
        if file.seek(SeekFrom::Start(self.place)).is_err() {
            return false;
        }
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        while let Ok(length @ 1..) = reader.read_until(b'\n', &mut bytes) {
            if bytes.last() != Some(&b'\n') {
                // Its end is still to come.
                return false;
            }
            self.place += length as u64;
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LINE)]);
            if line.is_match(text.trim_end()) {
                return true;
            }
            bytes.clear();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::append_to;
    use std::io::Write;

    #[test]
    fn a_line_counts_once_it_is_whole_and_lines_from_before_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        let mut writer = append_to(&path).unwrap();
        writer.write_all(b"up with 3 peers\n").unwrap();
        let line = Regex::new("^up with [0-9]+").unwrap();
        let mut log = Log::from_place(&path, std::fs::metadata(&path).unwrap().len());
        assert!(!log.matches(&line), "an earlier start said that");
        writer.write_all(b"loading\nup with").unwrap();
        assert!(!log.matches(&line));
        writer.write_all(b" 7 peers\n").unwrap();
        assert!(log.matches(&line));
        assert!(!log.matches(&line));
        writer.set_len(0).unwrap();
        writer.write_all(b"up with 9\n").unwrap();
        assert!(log.matches(&line), "a rotated log is read from its beginning");
    }
}
