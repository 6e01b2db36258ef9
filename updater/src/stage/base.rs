//! A stored release as the canonical tar that it was: read at any place, for deltas, without a second copy of its bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use countersign_metadata::Sha256;

use super::layout::{self, Layout, Segment};
use crate::Home;

/// The tar of a stored release. Nothing in it is proven: what is made of it is hashed.
pub(crate) struct Base {
    tree: PathBuf,
    segments: Vec<Segment>,
    /// Where each segment begins, and where the last one ends.
    starts: Vec<u64>,
    at: u64,
    open: Option<(usize, File)>,
}

/// Opens the stored release with this identity.
pub(crate) fn open(home: &Home, identity: &Sha256) -> io::Result<Base> {
    let dir = home.stored(identity);
    let layout = Layout::read(&dir.join("layout.json.zst")).map_err(io::Error::other)?;
    let segments = layout.into_segments();
    let mut starts = vec![0];
    let mut end = 0_u64;
    for segment in &segments {
        end = end.saturating_add(segment.length());
        starts.push(end);
    }
    Ok(Base { tree: dir.join("tree"), segments, starts, at: 0, open: None })
}

impl Read for Base {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The last segment that begins here or before: empty ones in between are passed over.
        let index = self.starts.partition_point(|start| *start <= self.at).saturating_sub(1);
        let (Some(segment), Some(start)) = (self.segments.get(index), self.starts.get(index))
        else {
            return Ok(0);
        };
        let within = self.at - start;
        let left = usize::try_from(segment.length() - within).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let buffer = &mut buffer[..most];
        let read = match segment {
            Segment::Raw(raw) => {
                let from = usize::try_from(within).unwrap_or(usize::MAX);
                raw.get(from..).unwrap_or_default().read(buffer)?
            }
            Segment::File { path, length } => {
                let file = match self.open.take() {
                    Some((open, file)) if open == index => file,
                    _ => layout::open(&self.tree, path, *length)?,
                };
                let read = file.read_at(buffer, within)?;
                self.open = Some((index, file));
                read
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Base {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = self.starts.last().copied().unwrap_or_default();
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => end.checked_add_signed(by),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "outside of the stored tar");
        self.at = at.filter(|at| *at <= end).ok_or_else(outside)?;
        Ok(self.at)
    }
}
