//! The tar without its files' bytes: kept beside the unpacked tree, so that both give back the tar.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::durable::{DiskError, OnDisk};

/// The format that this code writes.
const FORMAT: u32 = 1;
/// Longest layout, in bytes of JSON.
const MAX_JSON: u64 = 256 << 20;

/// A piece of the tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Headers and padding, as they are.
    Raw(Vec<u8>),
    /// A file's bytes: they lie in the tree.
    File { path: String, length: u64 },
}

impl Segment {
    /// Its bytes in the tar.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Raw(raw) => raw.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// All pieces, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout(Vec<Segment>);

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    segments: Vec<WrittenSegment>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum WrittenSegment {
    Raw { raw: String },
    File { file: String, length: u64 },
}

impl Layout {
    pub(super) fn new(segments: Vec<Segment>) -> Self {
        Self(segments)
    }

    pub(super) fn into_segments(self) -> Vec<Segment> {
        self.0
    }

    /// Not synced: whoever stages syncs all of it.
    pub(super) fn write(&self, path: &Path) -> Result<(), DiskError> {
        let segments = self.0.iter().map(|segment| match segment {
            Segment::Raw(raw) => WrittenSegment::Raw { raw: STANDARD.encode(raw) },
            Segment::File { path, length } => {
                WrittenSegment::File { file: path.clone(), length: *length }
            }
        });
        let written = Written { format: FORMAT, segments: segments.collect() };
        let bytes = serde_json::to_vec(&written)
            .map_err(io::Error::from)
            .and_then(|json| zstd::encode_all(json.as_slice(), 3))
            .on_disk("write", path)?;
        std::fs::write(path, &bytes).on_disk("write", path)
    }

    pub(super) fn read(path: &Path) -> Result<Self, DiskError> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let read = || {
            let mut json = Vec::new();
            let decoder = zstd::Decoder::new(File::open(path)?)?;
            decoder.take(MAX_JSON + 1).read_to_end(&mut json)?;
            if json.len() as u64 > MAX_JSON {
                return Err(wrong("it is too long"));
            }
            let written: Written = serde_json::from_slice(&json)?;
            if written.format != FORMAT {
                return Err(wrong("it was written by another version"));
            }
            let segments = written.segments.into_iter().map(|segment| match segment {
                WrittenSegment::Raw { raw } => STANDARD
                    .decode(raw)
                    .map(Segment::Raw)
                    .map_err(|_| wrong("it holds bytes that are not base64")),
                WrittenSegment::File { file, length } => {
                    let inside = file.split('/').all(|s| !matches!(s, "" | "." | ".."));
                    let path = if inside { Ok(file) } else { Err(wrong("it leaves the tree")) };
                    path.map(|path| Segment::File { path, length })
                }
            });
            segments.collect::<io::Result<_>>().map(Self)
        };
        read().on_disk("read", path)
    }

    /// The tar that this layout and the files below `tree` give.
    pub(super) fn tar(self, tree: &Path) -> impl Read + use<> {
        Tar { segments: self.0.into_iter(), tree: tree.to_owned(), now: Box::new(io::empty()) }
    }
}

struct Tar {
    segments: std::vec::IntoIter<Segment>,
    tree: PathBuf,
    now: Box<dyn Read>,
}

impl Read for Tar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.now.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.segments.next() {
                None => return Ok(0),
                Some(Segment::Raw(raw)) => self.now = Box::new(io::Cursor::new(raw)),
                Some(Segment::File { path, length }) => {
                    self.now = Box::new(open(&self.tree, &path, length)?.take(length));
                }
            }
        }
    }
}

/// Opens a file of the tree, which must have this length.
pub(super) fn open(tree: &Path, path: &str, length: u64) -> io::Result<File> {
    let file = File::options()
        .read(true)
        // Neither a link nor a pipe in a file's place may hold us up.
        .custom_flags((nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits())
        .open(tree.join(path))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() != length {
        let what = format!("{path} is not a file of {length} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(file)
}
