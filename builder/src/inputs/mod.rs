//! Locked inputs: fetched before a build, kept by digest in `CACHE/inputs/DIGEST`, hashed each time one is used.

pub mod crates;
pub mod debian;
pub mod lists;
pub mod npm;
pub mod package;
pub mod pypi;
pub mod url;
pub mod vendor;
pub mod wanted;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;
use countersign_metadata::release::{Blob, Input};

use tempfile::NamedTempFile;

use crate::cache::{self, Held};
use crate::files::open_no_link;
use crate::scratch::Scratch;

/// Longest input, in bytes.
pub const MAX_LENGTH: u64 = 2 << 30;

/// What an input is called before it is whole.
const NEW: &str = ".new-";
const SCRATCH: &str = ".scratch-";

/// Where inputs are looked for.
#[derive(Clone, Debug)]
pub struct Inputs {
    store: PathBuf,
    also: Vec<PathBuf>,
    _held: Held,
}

/// Why an input is not there.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It is nowhere.
    #[error("the input {name} ({sha256:?}) is not at hand")]
    Missing {
        /// Its name.
        name: String,
        /// Its digest.
        sha256: Sha256,
    },
    /// What came is not what was locked.
    #[error("the input {name} is not what was locked: {what}")]
    Wrong {
        /// Its name.
        name: String,
        /// The difference.
        what: String,
    },
    /// A kind of input that this version does not fetch.
    #[error("{name}: {what}")]
    Unsupported {
        /// Its name.
        name: String,
        /// What is not supported.
        what: String,
    },
    /// A client of the machine did not deliver it.
    #[error("{client} did not deliver {name}: {what}")]
    Client {
        /// The program.
        client: &'static str,
        /// The input.
        name: String,
        /// What it said, shortened.
        what: String,
    },
    /// A server did not deliver it; trying again can help.
    #[error("cannot fetch {name}: {what}")]
    Fetch {
        /// The input.
        name: String,
        /// Why.
        what: String,
    },
    /// Something cannot be read or written.
    #[error("cannot keep inputs: {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl InputError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// The directory of all inputs.
pub(crate) fn dir(cache: &Path) -> PathBuf {
    cache.join("inputs")
}

/// The digest of what is there.
pub(crate) fn hash(path: &Path) -> io::Result<Sha256> {
    Ok(copy_hashed(open_no_link(path)?, &mut io::sink())?.sha256)
}

impl Inputs {
    /// The inputs below the builder's cache, of which nothing is pruned while they are open; `also` are directories of files
    /// named by digest, tried first.
    ///
    /// # Errors
    /// The cache cannot be made.
    pub fn open(cache: &Path, also: Vec<PathBuf>) -> Result<Self, InputError> {
        let store = dir(cache);
        fs::create_dir_all(&store).map_err(|e| InputError::io(&store, e))?;
        let held = cache::hold(cache).map_err(|e| InputError::io(cache, e))?;
        crate::scratch::sweep(&store, &[NEW, SCRATCH]);
        Ok(Self { store, also, _held: held })
    }

    /// The file with this digest, if it is at hand, just hashed.
    ///
    /// # Errors
    /// The store cannot be written, or one of the `also` directories holds something else under that name.
    pub fn find(&self, name: &str, sha256: &Sha256) -> Result<Option<PathBuf>, InputError> {
        if let Some(kept) = self.kept(sha256)? {
            return Ok(Some(kept));
        }
        for dir in &self.also {
            if let Ok(file) = open_no_link(&dir.join(sha256.to_string())) {
                let (file, blob) = self.take(file)?;
                if blob.sha256 == *sha256 {
                    return Ok(Some(self.enter(file, sha256)?));
                }
                return Err(InputError::Wrong {
                    name: name.to_owned(),
                    what: format!("{} holds {:?} under its name", dir.display(), blob.sha256),
                });
            }
        }
        Ok(None)
    }

    /// Digest and length of what is at hand with this digest.
    ///
    /// # Errors
    /// As [`Inputs::find`].
    pub fn at_hand(&self, name: &str, sha256: &Sha256) -> Result<Option<Blob>, InputError> {
        let Some(path) = self.find(name, sha256)? else { return Ok(None) };
        let length = fs::metadata(&path).map_err(|e| InputError::io(&path, e))?.len();
        Ok(Some(Blob { sha256: *sha256, length }))
    }

    /// What the store has under this digest, just hashed.
    fn kept(&self, sha256: &Sha256) -> Result<Option<PathBuf>, InputError> {
        let kept = self.store.join(sha256.to_string());
        let Ok(file) = open_no_link(&kept) else { return Ok(None) };
        match copy_hashed(file, &mut io::sink()) {
            Ok(blob) if blob.sha256 == *sha256 => {
                cache::used(&kept);
                Ok(Some(kept))
            }
            // A damaged file of the cache: fetched again.
            _ => match fs::remove_file(&kept) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(InputError::io(&kept, e)),
                _ => Ok(None),
            },
        }
    }

    /// Gives a new file its name. One that is there and good stays: another builder may be about to mount it.
    pub(crate) fn enter(
        &self,
        file: NamedTempFile,
        sha256: &Sha256,
    ) -> Result<PathBuf, InputError> {
        if let Some(kept) = self.kept(sha256)? {
            return Ok(kept);
        }
        let path = self.store.join(sha256.to_string());
        crate::files::place(file, &path).map_err(|e| InputError::io(&path, e))?;
        Ok(path)
    }

    /// The file of a locked input, just hashed.
    ///
    /// # Errors
    /// It is not at hand, or has another length.
    pub fn get(&self, input: &Input) -> Result<PathBuf, InputError> {
        let Input { name, blob } = input;
        let path = self
            .find(name, &blob.sha256)?
            .ok_or_else(|| InputError::Missing { name: name.clone(), sha256: blob.sha256 })?;
        let length = fs::metadata(&path).map_err(|e| InputError::io(&path, e))?.len();
        if length == blob.length {
            return Ok(path);
        }
        let what = format!("it has {length} bytes instead of {}", blob.length);
        Err(InputError::Wrong { name: name.clone(), what })
    }

    /// Keeps what a reader gives, under its digest.
    ///
    /// # Errors
    /// The store cannot be written, or there is no end to it.
    pub fn add(&self, reader: impl Read) -> Result<(PathBuf, Blob), InputError> {
        let (file, blob) = self.take(reader)?;
        Ok((self.enter(file, &blob.sha256)?, blob))
    }

    /// Takes what a reader gives, which has no name yet.
    pub(crate) fn take(&self, reader: impl Read) -> Result<(NamedTempFile, Blob), InputError> {
        let failed = |e| InputError::io(&self.store, e);
        let mut file = crate::scratch::file(&self.store, NEW).map_err(failed)?;
        let blob = copy_hashed(reader, &mut file).map_err(failed)?;
        Ok((file, blob))
    }

    /// A scratch directory beside the store, below no directory that others may write.
    pub(crate) fn scratch(&self) -> Result<Scratch, InputError> {
        Scratch::in_dir(&self.store, SCRATCH).map_err(|e| InputError::io(&self.store, e))
    }

    /// Keeps a file that must have this digest.
    ///
    /// # Errors
    /// It has another, or the store cannot be written.
    pub fn add_file(
        &self,
        name: &str,
        path: &Path,
        sha256: &Sha256,
    ) -> Result<(PathBuf, Blob), InputError> {
        let file = open_no_link(path).map_err(|e| InputError::io(path, e))?;
        let (file, blob) = self.take(file)?;
        if blob.sha256 == *sha256 {
            return Ok((self.enter(file, sha256)?, blob));
        }
        Err(InputError::Wrong {
            name: name.to_owned(),
            what: format!("{:?} came instead of {sha256:?}", blob.sha256),
        })
    }

    /// Keeps what `fill` writes.
    ///
    /// # Errors
    /// Its own, or the store cannot be written.
    pub fn add_written<E: From<InputError>>(
        &self,
        fill: impl FnOnce(&mut dyn Write) -> Result<Blob, E>,
    ) -> Result<(PathBuf, Blob), E> {
        let failed = |e| InputError::io(&self.store, e);
        let file = crate::scratch::file(&self.store, NEW).map_err(failed)?;
        let mut writer = io::BufWriter::with_capacity(1 << 20, file);
        let blob = fill(&mut writer)?;
        let file = writer.into_inner().map_err(|e| failed(e.into_error()))?;
        Ok((self.enter(file, &blob.sha256)?, blob))
    }

    /// Copies an input to `dir/DIGEST`, hashing it on the way.
    ///
    /// # Errors
    /// It is not at hand, or `dir` cannot be written.
    pub fn export(&self, input: &Input, dir: &Path) -> Result<(), InputError> {
        let path = self.get(input)?;
        let to = dir.join(input.blob.sha256.to_string());
        let failed = |e| InputError::io(&to, e);
        crate::scratch::sweep(dir, &[NEW]);
        let mut file = crate::scratch::file(dir, NEW).map_err(failed)?;
        let source = open_no_link(&path).map_err(|e| InputError::io(&path, e))?;
        let blob = copy_hashed(source, &mut file).map_err(failed)?;
        if blob != input.blob {
            let what = "the cache changed while it was read".to_owned();
            return Err(InputError::Wrong { name: input.name.clone(), what });
        }
        crate::files::place(file, &to).map_err(failed)
    }
}

fn copy_hashed(reader: impl Read, to: &mut dyn Write) -> io::Result<Blob> {
    let mut reader = reader.take(MAX_LENGTH + 1);
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        crate::interrupt::check()?;
        match reader.read(&mut buffer)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                to.write_all(&buffer[..n])?;
            }
        }
    }
    let (sha256, length) = hasher.finish();
    if length > MAX_LENGTH {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than an input may be"));
    }
    Ok(Blob { sha256, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_or_swapped_file_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = Inputs::open(dir.path(), Vec::new()).unwrap();
        let (path, blob) = inputs.add(&b"good"[..]).unwrap();
        assert_eq!(inputs.find("x", &blob.sha256).unwrap(), Some(path.clone()));
        fs::write(&path, "evil").unwrap();
        assert_eq!(inputs.find("x", &blob.sha256).unwrap(), None);

        let also = tempfile::tempdir().unwrap();
        fs::write(also.path().join(blob.sha256.to_string()), "evil").unwrap();
        let inputs = Inputs::open(dir.path(), vec![also.path().to_owned()]).unwrap();
        let error = inputs.find("x", &blob.sha256).unwrap_err();
        assert!(matches!(error, InputError::Wrong { .. }));
        fs::write(also.path().join(blob.sha256.to_string()), "good").unwrap();
        assert!(inputs.find("x", &blob.sha256).unwrap().is_some());
    }
}
