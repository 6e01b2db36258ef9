//! The log's records one after the other, across its frames.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

use super::{Entry, Frames, Next};
use crate::failure::{Failure, INPUT, OrFail, Outcome};

/// Reads a log of one schema.
pub(crate) struct Records {
    frames: Frames,
    schema: u32,
    name: String,
    ahead: VecDeque<Entry>,
    unfinished: u64,
}

impl Records {
    pub(crate) fn open(path: &Path, schema: u32) -> Outcome<Self> {
        let name = path.display().to_string();
        let file = File::open(path).or_fail(format_args!("open {name}"))?;
        let frames = Frames::new(file, name.clone())?;
        Ok(Self { frames, schema, name, ahead: VecDeque::new(), unfinished: 0 })
    }

    /// The next record; `None` at the end.
    pub(crate) fn advance(&mut self) -> Outcome<Option<Entry>> {
        while self.ahead.is_empty() {
            match self.frames.advance()? {
                Next::Frame(payload) => {
                    let entries = Entry::decode_all(self.schema, &payload);
                    self.ahead = entries.ok_or_else(|| self.foreign())?.into();
                }
                Next::End => return Ok(None),
                Next::Unfinished(bytes) => {
                    self.unfinished = bytes;
                    return Ok(None);
                }
            }
        }
        Ok(self.ahead.pop_front())
    }

    /// At the end: how many bytes are intact frames, and how many after them are a frame that was never finished.
    pub(crate) fn ends(&self) -> (u64, u64) {
        (self.frames.intact(), self.unfinished)
    }

    fn foreign(&self) -> Failure {
        let (name, schema) = (&self.name, self.schema);
        Failure::new(INPUT, format!("{name} holds what is no record of schema {schema}"))
    }
}
