//! The counters: how often the node was written and read, as one small file that is replaced as a whole.
//!
//! ```text
//! records 1234              how many records of the log are counted here
//! reads 56
//! write load 1200           writes of keys whose first part is `load`
//! crc32 1a2b3c4d            of all lines before
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::failure::{Failure, INPUT, OrFail, Outcome};

/// More first parts than this are counted together, as `*`.
const MAX_PARTS: usize = 64;

/// Statistics. Writes are exact; reads of the last second are lost in a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Records of the log that are counted in `writes`.
    pub(crate) records: u64,
    pub(crate) reads: u64,
    /// By the first part of the key.
    pub(crate) writes: BTreeMap<String, u64>,
}

impl Counters {
    /// Counts one record of the log.
    pub(crate) fn count(&mut self, key: &str) {
        let part = key.split(['.', ':', '-']).next().unwrap_or_default();
        let room = self.writes.len() < MAX_PARTS || self.writes.contains_key(part);
        let part = if room { part } else { "*" };
        *self.writes.entry(part.to_owned()).or_default() += 1;
        self.records += 1;
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("records {}\nreads {}\n", self.records, self.reads);
        for (part, count) in &self.writes {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "write {part} {count}");
        }
        let sum = crc32fast::hash(text.as_bytes());
        text + &format!("crc32 {sum:08x}\n")
    }

    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(path).or_fail(format_args!("read {}", path.display()))?;
        Self::from_text(&text)
            .ok_or_else(|| Failure::new(INPUT, format!("{} is damaged", path.display())))
    }

    /// `None` if the text is not whole.
    fn from_text(text: &str) -> Option<Self> {
        let (lines, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let lines = format!("{lines}\n");
        if sum != format!("crc32 {:08x}", crc32fast::hash(lines.as_bytes())) {
            return None;
        }
        let mut counters = Self::default();
        for line in lines.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["records", count] => counters.records = count.parse().ok()?,
                ["reads", count] => counters.reads = count.parse().ok()?,
                ["write", part, count] => {
                    counters.writes.insert(part.to_owned(), count.parse().ok()?);
                }
                _ => return None,
            }
        }
        Some(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_written_and_not_at_all_when_a_byte_differs() {
        let mut counters = Counters { reads: 3, ..Counters::default() };
        for key in ["load.1", "load.2", "x", ".odd"] {
            counters.count(key);
        }
        let text = counters.to_text();
        assert_eq!(Counters::from_text(&text), Some(counters));
        assert_eq!(Counters::from_text(&text.replacen('3', "4", 1)), None);
        assert_eq!(Counters::from_text(&text[..text.len() - 2]), None);
    }

    #[test]
    fn many_first_parts_are_counted_together() {
        let mut counters = Counters::default();
        for i in 0..100 {
            counters.count(&format!("part{i}.x"));
        }
        assert_eq!(counters.writes["*"], 100 - MAX_PARTS as u64);
        assert_eq!(counters.records, 100);
    }
}
