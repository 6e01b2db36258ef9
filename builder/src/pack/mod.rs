//! The canonical archive: equal trees give equal bytes, whoever packs them, wherever and whenever.
//!
//! A tar written by our own walk and headers: paths sorted byte-wise, directories written before what they
//! hold, ustar headers, one pax record set (`path`, `linkpath`) only where a name is longer than 100 bytes or not ASCII;
//! every time is `source-date-epoch`, owner and group 0 without names, modes 0755 (directories, and files
//! whose owner may execute them) or 0644, 0777 for links; a file with several names is a file each time; holes are
//! written out. Refused: set-uid and set-gid files, special files, names that are not UTF-8,
//! names that differ in case only, links that leave the tree.
//!
//! The tar's SHA-256 is the artifact's identity. As a file it is compressed with zstd, level 10, at least one worker,
//! content size and checksum in the frame.

mod header;
mod normalise;
mod open;
mod plan;
mod read;
mod unpack;
mod zip;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use countersign_metadata::digest::Hasher;
use countersign_metadata::release::Blob;

pub use normalise::{Normalise, normalise};
pub(crate) use open::decompressed;
pub use open::{open, unpack_file};
pub use plan::{Body, Entry, Plan};
pub(crate) use read::each_of_root;
pub use read::{Cap, Kind, Member, Strip, UnpackError, each};
pub(crate) use unpack::Tree;
pub use unpack::unpack;

/// The zstd level of artifacts.
pub const LEVEL: i32 = 10;
const CHUNK: usize = 256 << 10;

/// Why a tree cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file or directory cannot be read, or the archive cannot be written.
    #[error("cannot pack {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that an artifact may not hold.
    #[error("cannot pack {path}: {what}")]
    Refused {
        /// Its path.
        path: String,
        /// What it is.
        what: String,
    },
}

impl PackError {
    fn refused(path: impl ToString, what: impl Into<String>) -> Self {
        Self::Refused { path: path.to_string(), what: what.into() }
    }
}

/// Both digests of a packed artifact.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// The canonical tar: the identity.
    pub tar: Blob,
    /// The compressed file: for transport.
    pub file: Blob,
}

/// Writes the canonical tar of `plan` to `sink` and returns its digest.
///
/// # Errors
/// A file has changed since it was planned, or something cannot be read or written.
pub fn write_tar(plan: &Plan, epoch: u64, sink: &mut dyn Write) -> Result<Blob, PackError> {
    let mut tee = Tee { sink, hasher: Hasher::default() };
    let archive = |source| PackError::Io { path: PathBuf::from("the archive"), source };
    let mut buffer = vec![0; CHUNK];
    for entry in plan.entries() {
        crate::interrupt::check().map_err(archive)?;
        tee.write_all(&header::of(entry, epoch)).map_err(archive)?;
        if let Body::File { from, length, .. } = &entry.body {
            copy_exactly(from, *length, &mut buffer, &mut tee)?;
            tee.write_all(&[0; 512][..header::padding(*length)]).map_err(archive)?;
        }
    }
    tee.write_all(&[0; 1024]).map_err(archive)?;
    let (sha256, length) = tee.hasher.finish();
    Ok(Blob { sha256, length })
}

/// Writes the canonical tar of `plan`, compressed, to `path` (replaced in one step), hashing while writing.
///
/// # Errors
/// As [`write_tar`].
pub fn write_artifact(plan: &Plan, epoch: u64, path: &Path) -> Result<Packed, PackError> {
    let failed = |source| PackError::Io { path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(Path::new("."));
    crate::scratch::sweep(dir, &[".pack-"]);
    let mut file = crate::scratch::file(dir, ".pack-").map_err(failed)?;
    let compressed = Tee { sink: &mut file, hasher: Hasher::default() };
    let mut encoder = zstd::Encoder::new(compressed, LEVEL).map_err(failed)?;
    // One worker and several give the same bytes; none does not.
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().clamp(1, 8));
    encoder.multithread(u32::try_from(workers).unwrap_or(1)).map_err(failed)?;
    encoder.include_checksum(true).map_err(failed)?;
    encoder.include_contentsize(true).map_err(failed)?;
    encoder.set_pledged_src_size(Some(plan.tar_length())).map_err(failed)?;
    let tar = write_tar(plan, epoch, &mut encoder)?;
    let compressed = encoder.finish().map_err(failed)?;
    let (sha256, length) = compressed.hasher.finish();
    crate::files::place(file, path).map_err(failed)?;
    Ok(Packed { tar, file: Blob { sha256, length } })
}

/// Copies a file that must be exactly as long as it was when the plan was made.
fn copy_exactly(
    from: &Path,
    length: u64,
    buffer: &mut [u8],
    sink: &mut dyn Write,
) -> Result<(), PackError> {
    let failed = |source| PackError::Io { path: from.to_owned(), source };
    // A link put in a file's place while we pack is an error, not a door.
    let mut file = crate::files::open_no_link(from).map_err(failed)?;
    let mut left = length;
    loop {
        let read = file.read(buffer).map_err(failed)?;
        if read as u64 > left || (read == 0 && left > 0) {
            return Err(PackError::refused(from.display(), "it changed while it was packed"));
        }
        if read == 0 {
            return Ok(());
        }
        sink.write_all(&buffer[..read]).map_err(failed)?;
        left -= read as u64;
    }
}

/// Hashes what passes through.
struct Tee<'a> {
    sink: &'a mut dyn Write,
    hasher: Hasher,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
