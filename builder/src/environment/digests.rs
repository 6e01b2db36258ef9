//! Digests of the machine's files, remembered: `CACHE/host-digests`.
//!
//! One line a file: `DEVICE INODE SIZE MTIME_NS CTIME_NS DIGEST`. A file that changes gets another ctime, so the
//! remembered digest is no longer found. Files changed within the last two seconds are not remembered: a second
//! change in the same tick of the clock would go unseen.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;

use super::EnvironmentError;

/// Longest cache read, in bytes; beyond it everything is hashed anew.
const MAX_LENGTH: u64 = 64 << 20;
const TICK_NS: i128 = 2_000_000_000;

type Key = (u64, u64, u64, i128, i128);

/// The cache, in memory.
pub(super) struct Digests {
    file: PathBuf,
    known: HashMap<Key, Sha256>,
    used: HashMap<Key, Sha256>,
    grown: bool,
}

impl Digests {
    /// Nothing is remembered, and nothing will be.
    pub(super) fn none() -> Self {
        let (known, used) = (HashMap::new(), HashMap::new());
        Self { file: PathBuf::new(), known, used, grown: false }
    }

    /// Loads the cache; one that is missing or malformed is empty.
    pub(super) fn load(cache: &Path) -> Self {
        let file = cache.join("host-digests");
        let text = crate::files::read_limited(&file, MAX_LENGTH).unwrap_or_default();
        let known = String::from_utf8(text)
            .map(|text| text.lines().filter_map(parse).collect())
            .unwrap_or_default();
        Self { file, known, used: HashMap::new(), grown: false }
    }

    /// Whether it may be executed, and the digest of a regular file.
    pub(super) fn of(&mut self, path: &Path) -> Result<(bool, Sha256), EnvironmentError> {
        let failed = |e| EnvironmentError::io(path, e);
        let meta = fs::metadata(path).map_err(failed)?;
        if !meta.is_file() {
            let error = std::io::Error::other("neither file, link nor directory");
            return Err(failed(error));
        }
        let executable = meta.mode() & 0o111 != 0;
        if let Some(known) = self.known.get(&key(&meta)) {
            self.used.insert(key(&meta), *known);
            return Ok((executable, *known));
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        let after = file.metadata().map_err(failed)?;
        let (sha256, length) = hasher.finish();
        if key(&after) != key(&meta) || length != meta.len() {
            return Err(EnvironmentError::Changed);
        }
        if is_settled(&after) {
            self.used.insert(key(&after), sha256);
            self.known.insert(key(&after), sha256);
            self.grown = true;
        }
        Ok((executable, sha256))
    }

    /// Writes what was used and what was known before. Losing it costs time only, so an error is no failure.
    pub(super) fn save(mut self) {
        if !self.grown {
            return;
        }
        if self.known.len() > 400_000 {
            self.known = self.used;
        }
        let mut lines: Vec<String> = self
            .known
            .iter()
            .map(|((dev, ino, size, mtime, ctime), sha256)| {
                format!("{dev} {ino} {size} {mtime} {ctime} {sha256}\n")
            })
            .collect();
        lines.sort();
        let _costs_time_only = crate::files::write_durably(&self.file, lines.concat().as_bytes());
    }
}

fn parse(line: &str) -> Option<(Key, Sha256)> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<i128>().ok();
    let key = (
        number()?.try_into().ok()?,
        number()?.try_into().ok()?,
        number()?.try_into().ok()?,
        number()?,
        number()?,
    );
    let sha256 = words.next()?.parse().ok()?;
    Some((key, sha256))
}

fn key(meta: &Metadata) -> Key {
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    (
        meta.dev(),
        meta.ino(),
        meta.len(),
        ns(meta.mtime(), meta.mtime_nsec()),
        ns(meta.ctime(), meta.ctime_nsec()),
    )
}

fn is_settled(meta: &Metadata) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
    key(meta).4 + TICK_NS < now
}
