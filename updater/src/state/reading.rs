//! Reads a file of a snapshot for somebody else, and says at its end whether that was the file of the manifest.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;

use super::blocks::BLOCK;
use crate::durable::{DiskError, OnDisk};

/// Whoever reads it to its end without an error has read the bytes that the manifest lists.
#[derive(Debug)]
pub struct Verified {
    file: File,
    path: PathBuf,
    wanted: (Sha256, u64),
    digest: Option<Blocks>,
}

impl Verified {
    /// Opens `path`, which should have this digest over its blocks and this length in bytes.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, digest: Sha256, length: u64) -> Result<Self, DiskError> {
        let file = File::open(path).on_disk("read", path)?;
        let digested = Some(Blocks::default());
        Ok(Self { file, path: path.to_owned(), wanted: (digest, length), digest: digested })
    }

    fn different(&self) -> io::Error {
        let what = format!("{} is not what its manifest says", self.path.display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        if length > 0 {
            if let Some(digest) = &mut self.digest {
                digest.update(&buffer[..length]);
            }
        } else if !buffer.is_empty()
            && let Some(digest) = self.digest.take()
            && digest.finish() != self.wanted
        {
            return Err(self.different());
        }
        Ok(length)
    }
}

/// The digest of [`super::blocks`] over a stream: of every block that is not all zeroes with its offset, and the
/// length.
#[derive(Default, Debug)]
struct Blocks {
    hasher: Counted,
    block: Vec<u8>,
    offset: u64,
}

#[derive(Default)]
struct Counted(Hasher);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.length())
    }
}

impl Blocks {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        if self.block.iter().any(|byte| *byte != 0) {
            self.hasher.0.update(&self.offset.to_be_bytes());
            self.hasher.0.update(&self.block);
        }
        self.offset += self.block.len() as u64;
        self.block.clear();
    }

    fn finish(mut self) -> (Sha256, u64) {
        self.end_block();
        self.hasher.0.update(&self.offset.to_be_bytes());
        (self.hasher.0.finish().0, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::blocks;
    use super::*;

    #[test]
    fn a_stream_has_the_digest_of_its_file_and_another_file_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let block = BLOCK as u64;
        let cases: [(&[u64], u64); 6] = [
            (&[], 0),
            (&[], 3 * block),
            (&[5], 100),
            (&[0, block - 1, 7 * block + 3], 9 * block + 17),
            (&[block], block + 1),
            (&[2 * block - 1], 2 * block),
        ];
        for (places, length) in cases {
            let file = File::create(&path).unwrap();
            places.iter().for_each(|at| file.write_all_at(b"x", *at).unwrap());
            file.set_len(length).unwrap();
            let (digest, found) = blocks::read(&File::open(&path).unwrap(), |_, _| Ok(())).unwrap();
            assert_eq!(found, length);
            let mut bytes = Vec::new();
            Verified::open(&path, digest, length).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, std::fs::read(&path).unwrap());
            let other = Sha256::of(b"other");
            let read = Verified::open(&path, other, length).unwrap().read_to_end(&mut bytes);
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
            let longer = Verified::open(&path, digest, length + 1).unwrap().read_to_end(&mut bytes);
            assert!(longer.unwrap_err().to_string().contains("manifest"));
        }
    }
}
