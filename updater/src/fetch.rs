//! Downloads an approved artifact: resumable, from the first mirror whose bytes are the signed ones.
//!
//! ```text
//! NODE/store/.partial-SHA256    of the .tar.zst as served; a claim until it is hashed to its end
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;
use countersign_metadata::trust::VerifiedTarget;
use nix::sys::statvfs::statvfs;

use crate::durable::{DiskError, OnDisk};
use crate::net::{Mirror, NetError, Repository};
use crate::policy::Approved;
use crate::trust_store::chain;
use crate::{Config, Home};

/// The approved artifact, as served, on the disk: its length and digest are the signed ones.
///
/// Its one birthplace is [`fetch`]. The file that was hashed stays open, so that nothing can take its place.
#[derive(Debug)]
pub struct Fetched {
    target: VerifiedTarget,
    file: File,
    path: PathBuf,
}

impl Fetched {
    /// What it is.
    pub fn target(&self) -> &VerifiedTarget {
        &self.target
    }

    pub(crate) fn into_parts(self) -> (VerifiedTarget, File, PathBuf) {
        (self.target, self.file, self.path)
    }
}

/// Why one mirror did not give the artifact.
#[derive(Debug, thiserror::Error)]
pub enum MirrorFailure {
    /// It could not be asked, or broke off.
    #[error(transparent)]
    Net(#[from] NetError),
    /// It does not have it.
    #[error("it has no {0}")]
    Missing(String),
    /// It gave other bytes.
    #[error("digest mismatch: wanted {wanted}, found {found}")]
    OtherBytes {
        /// The signed digest.
        wanted: Sha256,
        /// What came.
        found: Sha256,
    },
    /// It gave too few bytes and called it the end.
    #[error("it ended after {found} of {wanted} bytes")]
    Short {
        /// The signed length.
        wanted: u64,
        /// What came.
        found: u64,
    },
}

/// No artifact.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is not enough space for it, and something must stay free.
    #[error("{path} has {free} bytes free; the update needs {need}, of which {floor} stay free")]
    Space {
        /// The store.
        path: PathBuf,
        /// Bytes free now.
        free: u64,
        /// Bytes needed.
        need: u64,
        /// The operator's floor (`free-space`).
        floor: u64,
    },
    /// Every mirror failed.
    #[error("no mirror gave {path} as it was signed: {}", list(.tried))]
    NoMirror {
        /// The target path.
        path: String,
        /// Each mirror, and what was wrong.
        tried: Vec<(Repository, MirrorFailure)>,
    },
}

impl FetchError {
    /// Whether some mirror gave bytes that are not the signed ones.
    pub fn is_untrusted(&self) -> bool {
        let Self::NoMirror { tried, .. } = self else { return false };
        tried.iter().any(|(_, f)| {
            matches!(
                f,
                MirrorFailure::OtherBytes { .. } | MirrorFailure::Net(NetError::TooLong { .. })
            )
        })
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> bool {
        matches!(self, Self::NoMirror { .. })
    }
}

fn list(tried: &[(Repository, MirrorFailure)]) -> String {
    let all: Vec<_> = tried.iter().map(|(mirror, e)| format!("{mirror} ({})", chain(e))).collect();
    all.join("; ")
}

/// How often one mirror may break off and be resumed, as long as bytes keep coming.
const RESUMES: usize = 5;
const CHUNK: usize = 256 << 10;

/// Downloads the artifact of `approved`, or finds it complete from before. `progress` hears of every byte that
/// is there, also of those from before.
///
/// # Errors
/// No mirror gave it, or the disk is too small.
pub fn fetch(
    home: &Home,
    config: &Config,
    approved: Approved,
    progress: &mut dyn FnMut(u64),
) -> Result<Fetched, FetchError> {
    let target = approved.target().clone();
    let path = home.store().join(format!(".partial-{}", target.sha256()));
    let mut partial = Partial::open(&path, target.length(), progress)?;
    space(home, config, &target, partial.length)?;
    let mut tried = Vec::new();
    // Served bytes that turn out to be wrong may be a former mirror's fault: such a mirror gets a second try.
    let rounds = config.repositories.iter().flat_map(|mirror| [(mirror, false), (mirror, true)]);
    for (repository, again) in rounds {
        let resumed = partial.length > 0;
        if again && !matches!(tried.last(), Some((_, true))) {
            continue;
        }
        match from_mirror(repository, &target, &mut partial, progress)? {
            Ok(()) => return Ok(Fetched { target, file: partial.file, path }),
            Err(failure) => {
                let wrong = matches!(failure, MirrorFailure::OtherBytes { .. });
                if wrong {
                    partial.clear()?;
                }
                tried.push(((repository.clone(), failure), wrong && resumed && !again));
            }
        }
    }
    if partial.length == 0 {
        fs::remove_file(&path).on_disk("remove", &path)?;
    }
    let tried = tried.into_iter().map(|(failure, _)| failure).collect();
    Err(FetchError::NoMirror { path: target.path().to_owned(), tried })
}

/// Checks the space for the download and for what it unpacks to.
fn space(
    home: &Home,
    config: &Config,
    target: &VerifiedTarget,
    have: u64,
) -> Result<(), FetchError> {
    let path = home.store();
    let floor = config.free_space;
    let unpacked = target.release().artifact.length;
    let need = target.length().saturating_sub(have).saturating_add(unpacked).saturating_add(floor);
    let free = free_bytes(&path)?;
    if free < need { Err(FetchError::Space { path, free, need, floor }) } else { Ok(()) }
}

/// Bytes that this user may still write below `path`.
///
/// # Errors
/// The path is not there.
pub fn free_bytes(path: &Path) -> Result<u64, DiskError> {
    let stat = statvfs(path).map_err(io::Error::from).on_disk("look at", path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// The outer error is ours and ends the download, the inner one is the mirror's.
fn from_mirror(
    repository: &Repository,
    target: &VerifiedTarget,
    partial: &mut Partial,
    progress: &mut dyn FnMut(u64),
) -> Result<Result<(), MirrorFailure>, DiskError> {
    let mirror = match Mirror::new(repository) {
        Ok(mirror) => mirror,
        Err(error) => return Ok(Err(error.into())),
    };
    for _ in 0..RESUMES {
        if partial.length == target.length() {
            break;
        }
        let before = partial.length;
        match append(&mirror, target, partial, progress)? {
            Ok(()) => break,
            Err(MirrorFailure::Net(NetError::CutOff { .. })) if partial.length > before => {}
            Err(failure) => return Ok(Err(failure)),
        }
    }
    if partial.length < target.length() {
        let (wanted, found) = (target.length(), partial.length);
        return Ok(Err(MirrorFailure::Short { wanted, found }));
    }
    partial.file.sync_all().on_disk("write", &partial.path)?;
    let (found, _) = partial.hasher.clone().finish();
    let wanted = *target.sha256();
    Ok(if found == wanted { Ok(()) } else { Err(MirrorFailure::OtherBytes { wanted, found }) })
}

fn append(
    mirror: &Mirror,
    target: &VerifiedTarget,
    partial: &mut Partial,
    progress: &mut dyn FnMut(u64),
) -> Result<Result<(), MirrorFailure>, DiskError> {
    let mut body = match mirror.open(&target.served_at(), partial.length, target.length()) {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(Err(MirrorFailure::Missing(target.served_at()))),
        Err(error) => return Ok(Err(error.into())),
    };
    if body.starts_at() != partial.length {
        partial.clear()?;
    }
    let mut buffer = vec![0; CHUNK];
    loop {
        match body.next(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(read) => {
                partial.push(&buffer[..read])?;
                progress(read as u64);
            }
            Err(error) => return Ok(Err(error.into())),
        }
    }
}

/// A download that may have begun in an earlier life.
struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
    hasher: Hasher,
}

impl Partial {
    fn open(path: &Path, max: u64, progress: &mut dyn FnMut(u64)) -> Result<Self, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(path)
            .on_disk("open", path)?;
        let mut this = Self { file, path: path.to_owned(), length: 0, hasher: Hasher::default() };
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = this.file.read(&mut buffer).on_disk("read", path)?;
            this.hasher.update(&buffer[..read]);
            this.length += read as u64;
            progress(read as u64);
            if this.length > max {
                this.clear()?;
                return Ok(this);
            }
            if read == 0 {
                return Ok(this);
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(bytes).on_disk("write", &self.path)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), DiskError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .on_disk("write", &self.path)?;
        self.length = 0;
        self.hasher = Hasher::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
