//! A disk in memory that remembers every write and every flush, and what is left of it when the power goes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

const BLOCK: u64 = 4096;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Blocks that were ever written, by number; the others are zeros.
#[derive(Clone, Default)]
pub(crate) struct Image(BTreeMap<u64, Arc<[u8]>>);

/// What a disk was told to do.
#[derive(Clone)]
pub(crate) enum Op {
    /// Bytes at an offset: on the disk for certain only after the next flush.
    Write(u64, Vec<u8>),
    /// Everything before this is on the disk.
    Flush,
}

/// What the power cut does to the writes after the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cut {
    /// All are lost.
    Lost,
    /// All are there.
    Kept,
    /// All are there, of the last one the first half.
    Torn,
    /// Any of them are there, block by block; the number chooses.
    Mixed(u64),
}

impl Image {
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (block, part, at) in pieces(offset, length) {
            if let Some(content) = self.0.get(&block) {
                bytes[at..at + part.len()].copy_from_slice(&content[part]);
            }
        }
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (block, part, at) in pieces(offset, bytes.len()) {
            let new = &bytes[at..at + part.len()];
            let old = self.0.get(&block).map_or_else(|| vec![0; BLOCK as usize], |b| b.to_vec());
            let mut content = old;
            content[part].copy_from_slice(new);
            self.0.insert(block, content.into());
        }
    }

    /// What is left when the power goes after the first `n` operations.
    pub(crate) fn after(&self, log: &[Op], n: usize, cut: Cut) -> Self {
        let mut image = self.clone();
        let done = &log[..n];
        let safe = done.iter().rposition(|op| matches!(op, Op::Flush)).map_or(0, |at| at + 1);
        for op in &done[..safe] {
            image.apply(op, |_| true);
        }
        let mut dice = match cut {
            Cut::Mixed(seed) => seed | 1,
            _ => 1,
        };
        let at_risk = &done[safe..];
        for (at, op) in at_risk.iter().enumerate() {
            match (cut, op) {
                (Cut::Lost, _) | (_, Op::Flush) => {}
                (Cut::Torn, Op::Write(offset, bytes)) if at + 1 == at_risk.len() => {
                    let half = bytes.len() / SECTOR / 2 * SECTOR;
                    image.write(*offset, &bytes[..half]);
                }
                (Cut::Mixed(_), op) => image.apply(op, |_| toss(&mut dice)),
                (Cut::Kept | Cut::Torn, op) => image.apply(op, |_| true),
            }
        }
        image
    }

    fn apply(&mut self, op: &Op, mut keep: impl FnMut(u64) -> bool) {
        let Op::Write(offset, bytes) = op else { return };
        for (block, part, at) in pieces(*offset, bytes.len()) {
            if keep(block) {
                self.write(block * BLOCK + part.start as u64, &bytes[at..at + part.len()]);
            }
        }
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = io::BufWriter::new(std::fs::File::create(path)?);
        for (block, content) in &self.0 {
            file.write_all(&block.to_le_bytes())?;
            file.write_all(content)?;
        }
        file.flush()
    }

    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        let mut file = io::BufReader::new(std::fs::File::open(path)?);
        let mut image = Self::default();
        let mut number = [0; 8];
        while file.read_exact(&mut number).is_ok() {
            let mut content = vec![0; BLOCK as usize];
            file.read_exact(&mut content)?;
            image.0.insert(u64::from_le_bytes(number), content.into());
        }
        Ok(image)
    }
}

/// Keeps a log in a file.
pub(crate) fn save_log(log: &[Op], path: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    for op in log {
        let (offset, bytes) = match op {
            Op::Flush => (u64::MAX, &[][..]),
            Op::Write(offset, bytes) => (*offset, bytes.as_slice()),
        };
        file.write_all(&offset.to_le_bytes())?;
        file.write_all(&(bytes.len() as u64).to_le_bytes())?;
        file.write_all(bytes)?;
    }
    file.flush()
}

/// Reads a log that [`save_log`] kept.
pub(crate) fn load_log(path: &Path) -> io::Result<Vec<Op>> {
    let mut file = io::BufReader::new(std::fs::File::open(path)?);
    let mut log = Vec::new();
    let mut number = [0; 8];
    while file.read_exact(&mut number).is_ok() {
        let offset = u64::from_le_bytes(number);
        file.read_exact(&mut number)?;
        let length = usize::try_from(u64::from_le_bytes(number)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        log.push(if offset == u64::MAX { Op::Flush } else { Op::Write(offset, bytes) });
    }
    Ok(log)
}

/// (block, the part of it, where that part lies in the bytes).
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= length {
            return None;
        }
        let place = offset + at as u64;
        let start = usize::try_from(place % BLOCK).ok()?;
        let end = (start + length - at).min(BLOCK as usize);
        let piece = (place / BLOCK, start..end, at);
        at += end - start;
        Some(piece)
    })
}

/// xorshift: the same seed, the same losses.
fn toss(dice: &mut u64) -> bool {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice & 8 != 0
}
