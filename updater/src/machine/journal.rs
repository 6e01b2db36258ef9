//! `NODE/journal.jsonl`: one fsynced line a step, each sealed to the one before.
//!
//! ```text
//! {"v":1,"seq":7,"at":{…},"kind":"intent","effect":"switch","why":"…","state":{"name":"Migrated",…},"sum":"…"}
//! ```
//!
//! `sum` is the beginning of SHA-256 over the previous line's `sum` and this line's bytes up to `,"sum"`. An intent
//! is written before its effect, `done` or `failed` after it. The last line may be torn by a power cut: it is
//! cut off, and copied aside before the file is written again. A damaged line with others below it is an error, and
//! so is a journal that is too long: it is never cut. Long before it is, no new release is taken up.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use serde::{Deserialize, Serialize};

use super::state::Blame;
use super::{Effect, Moment, Order, State};
use crate::durable::{self, DiskError, OnDisk};

/// The format that this code writes.
pub const FORMAT: u32 = 1;

/// Longest journal, in bytes: some hundred thousand steps.
const MAX_FILE: u64 = 256 << 20;

/// Kept free for bringing to its end what has begun.
const RESERVE: u64 = 32 << 20;

const SUM_DIGITS: usize = 16;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The format: 1.
    pub v: u32,
    /// From 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: Moment,
    /// What the line says about the effect.
    #[serde(flatten)]
    pub kind: Kind,
    /// The effect.
    pub effect: Effect,
    /// Why, to a person.
    pub why: String,
    /// The state that holds from here on.
    pub state: State,
    /// The operator's order that this line takes down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

/// What a line says about its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// It is about to be tried. The state is still the old one.
    Intent,
    /// It is done, and the world was seen to agree.
    Done,
    /// It did not work.
    Failed {
        /// Whose fault it is.
        blame: Blame,
    },
}

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something other than a power cut changed it.
    #[error("{path}: line {line} is damaged: {reason}")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a newer program.
    #[error("{path}: line {line} has format {format}; this program knows {FORMAT}")]
    Newer {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Its format.
        format: u64,
    },
    /// It has grown to its limit.
    #[error("{path} is full: it may have {MAX_FILE} bytes")]
    Full {
        /// The journal.
        path: PathBuf,
    },
    /// A state that cannot be written as JSON.
    #[error("cannot write a journal line")]
    Unwritable(#[source] serde_json::Error),
}

/// A journal as it was read.
#[derive(Debug, Default)]
pub struct Contents {
    /// Its lines.
    pub records: Vec<Record>,
    /// Bytes of a torn last line, which was cut off.
    pub torn: usize,
    whole: u64,
    sum: String,
}

/// Reads a journal; one that is not there is empty.
///
/// # Errors
/// A line is damaged and others follow it, or it was written by a newer program.
pub fn read(path: &Path) -> Result<Contents, JournalError> {
    match durable::read(path, MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(full(path)),
        other => parse(path, &other?.unwrap_or_default()),
    }
}

fn full(path: &Path) -> JournalError {
    JournalError::Full { path: path.to_owned() }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Contents, JournalError> {
    let mut journal = Contents { sum: "0".repeat(SUM_DIGITS), ..Contents::default() };
    let mut rest = bytes;
    while !rest.is_empty() {
        let line = journal.records.len() as u64 + 1;
        let end = rest.iter().position(|b| *b == b'\n');
        let text = &rest[..end.unwrap_or(rest.len())];
        let read = match end {
            Some(_) => record(text, &journal.sum, line),
            None => Err(Flaw::Torn("it has no end")),
        };
        match read {
            Ok((record, sum)) => {
                journal.records.push(record);
                journal.sum = sum;
                journal.whole += text.len() as u64 + 1;
                rest = &rest[text.len() + 1..];
            }
            Err(Flaw::Newer(format)) => {
                return Err(JournalError::Newer { path: path.to_owned(), line, format });
            }
            // A power cut tears only what was written last.
            Err(Flaw::Torn(_)) if end.is_none_or(|end| end + 1 == rest.len()) => {
                journal.torn = rest.len();
                break;
            }
            Err(Flaw::Torn(reason)) => {
                let reason = format!("{reason}, and other lines follow it");
                return Err(JournalError::Damaged { path: path.to_owned(), line, reason });
            }
            Err(Flaw::Foreign(reason)) => {
                return Err(JournalError::Damaged { path: path.to_owned(), line, reason });
            }
        }
    }
    Ok(journal)
}

enum Flaw {
    /// A later program wrote it.
    Newer(u64),
    /// The bytes are not what was written.
    Torn(&'static str),
    /// They are, and make no sense here: nothing that a power cut does.
    Foreign(String),
}

fn record(line: &[u8], previous: &str, number: u64) -> Result<(Record, String), Flaw> {
    const TAIL: usize = r#","sum":""}"#.len() + SUM_DIGITS;
    let body = line.get(..line.len().saturating_sub(TAIL)).unwrap_or_default();
    let sum = seal(previous, body);
    if line[body.len()..] != *format!(r#","sum":"{sum}"}}"#).as_bytes() {
        return Err(Flaw::Torn("its checksum is wrong"));
    }
    let value: serde_json::Value =
        serde_json::from_slice(line).map_err(|error| Flaw::Foreign(error.to_string()))?;
    let format = value.get("v").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if format != u64::from(FORMAT) {
        return Err(Flaw::Newer(format));
    }
    let record: Record =
        serde_json::from_value(value).map_err(|error| Flaw::Foreign(error.to_string()))?;
    if record.seq != number {
        return Err(Flaw::Foreign("its sequence number is wrong".to_owned()));
    }
    Ok((record, sum))
}

fn seal(previous: &str, body: &[u8]) -> String {
    let digest = Sha256::of(&[previous.as_bytes(), body].concat()).to_string();
    digest[..SUM_DIGITS].to_owned()
}

/// The journal, open for writing by the one agent of this node.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    end: u64,
    next: u64,
    sum: String,
}

impl Journal {
    /// Opens it and hands over what it holds. A torn last line is copied beside the file, then cut off.
    ///
    /// # Errors
    /// As [`read`], or the disk fails.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), JournalError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .on_disk("open", path)?;
        let mut bytes = Vec::new();
        let length = file.metadata().on_disk("read", path)?.len();
        file.by_ref().take(MAX_FILE).read_to_end(&mut bytes).on_disk("read", path)?;
        // What was not read may be whole lines: only what follows the last whole line is ever cut off.
        if length > bytes.len() as u64 {
            return Err(full(path));
        }
        let journal = parse(path, &bytes)?;
        if journal.torn > 0 {
            let torn = &bytes[bytes.len() - journal.torn..];
            let name = format!("journal.torn.{}-{}", journal.whole, Sha256::of(torn).short());
            durable::write_private(&path.with_file_name(name), torn)?;
            file.set_len(journal.whole).and_then(|()| file.sync_all()).on_disk("write", path)?;
        }
        durable::sync_parent(path)?;
        let next = journal.records.len() as u64 + 1;
        let this = Self { file, path: path.to_owned(), end: journal.whole, next, sum: journal.sum };
        Ok((this, journal.records))
    }

    /// Appends one line and waits until it is on the disk.
    ///
    /// # Errors
    /// The disk fails, or the journal is full; the line is then not there, and the next one may be tried.
    pub fn append(
        &mut self,
        at: Moment,
        kind: Kind,
        effect: Effect,
        why: &str,
        state: &State,
    ) -> Result<Record, JournalError> {
        self.append_with(at, kind, effect, why, state, None)
    }

    /// The same with an order that the line takes down.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_with(
        &mut self,
        at: Moment,
        kind: Kind,
        effect: Effect,
        why: &str,
        state: &State,
        order: Option<Order>,
    ) -> Result<Record, JournalError> {
        let (why, state) = (why.to_owned(), state.clone());
        let record = Record { v: FORMAT, seq: self.next, at, kind, effect, why, state, order };
        let mut line = serde_json::to_vec(&record).map_err(JournalError::Unwritable)?;
        line.pop();
        let sum = seal(&self.sum, &line);
        line.extend_from_slice(format!(r#","sum":"{sum}"}}"#).as_bytes());
        line.push(b'\n');
        let new = matches!((&record.kind, record.effect), (Kind::Intent, Effect::Announce));
        let limit = if new { MAX_FILE - RESERVE } else { MAX_FILE };
        if self.end + line.len() as u64 > limit {
            return Err(full(&self.path));
        }
        // At its place, not at the end: what a failed write left behind is overwritten.
        let written = self
            .file
            .set_len(self.end)
            .and_then(|()| self.file.write_all_at(&line, self.end))
            .and_then(|()| self.file.sync_all());
        if let Err(error) = written {
            let _best_effort = self.file.set_len(self.end).and_then(|()| self.file.sync_all());
            return Err(DiskError::new("write", &self.path, error).into());
        }
        self.end += line.len() as u64;
        self.next += 1;
        self.sum = sum;
        Ok(record)
    }
}

#[cfg(test)]
mod tests;
