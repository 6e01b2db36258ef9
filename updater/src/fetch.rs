//! Downloads an approved artifact: resumable, from the first mirror whose bytes are the signed ones, and less than the
//! whole where a delta from a stored release is published.
//!
//! ```text
//! NODE/store/.partial-SHA256    as served: the .tar.zst, or a delta; see `partial`
//! NODE/mirrors.json             what was wrong with which mirror: see [`crate::mirrors`]
//! ```

mod delta;
mod download;
mod pace;
mod partial;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::release::Blob;
use countersign_metadata::trust::VerifiedTarget;
use nix::sys::statvfs::statvfs;

use crate::durable::{DiskError, OnDisk};
use crate::mirrors::{For, LeftAlone, Mirrors};
use crate::net::{NetError, PATIENCE, Repository};
use crate::policy::Approved;
use crate::trust_store::chain;
use crate::{Config, Home};
use download::{Download, Wanted};
use pace::Pace;
use partial::Partial;

pub(crate) use partial::discard;

/// The approved artifact on the disk, as served, or as a delta that was found to give it: its digest is the signed one.
///
/// Its one birthplace is [`fetch`]. The file that was hashed stays open, so that nothing can take its place.
#[derive(Debug)]
pub struct Fetched {
    target: VerifiedTarget,
    packed: Packed,
    path: PathBuf,
}

/// How the artifact is packed.
#[derive(Debug)]
pub(crate) enum Packed {
    /// The `.tar.zst` as served.
    Whole(File),
    /// What turns the stored release `base` into it.
    Delta {
        /// The delta as served.
        file: File,
        /// The identity of a stored release.
        base: Sha256,
    },
}

impl Packed {
    /// The canonical tar, from its beginning.
    pub(crate) fn tar(
        &mut self,
        home: &Home,
        length: u64,
    ) -> io::Result<Box<dyn Read + Send + '_>> {
        match self {
            Self::Whole(file) => {
                file.seek(SeekFrom::Start(0))?;
                Ok(Box::new(zstd::Decoder::new(file)?))
            }
            Self::Delta { file, base } => delta::tar(home, file, base, length),
        }
    }
}

impl Fetched {
    /// What it is.
    pub fn target(&self) -> &VerifiedTarget {
        &self.target
    }

    /// Where it lies until it is staged.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The stored release that it was made of, where it is a delta.
    pub fn base(&self) -> Option<&Sha256> {
        match &self.packed {
            Packed::Whole(_) => None,
            Packed::Delta { base, .. } => Some(base),
        }
    }

    pub(crate) fn into_parts(self) -> (VerifiedTarget, Packed, PathBuf) {
        (self.target, self.packed, self.path)
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
    /// It was not asked.
    #[error(transparent)]
    LeftAlone(LeftAlone),
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

/// Bytes of an artifact that are there from before.
pub fn begun(home: &Home, approved: &Approved) -> u64 {
    fs::metadata(partial::path(home, approved.target().sha256())).map_or(0, |there| there.len())
}

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
    let mut mirrors = Mirrors::read(home);
    let fetched = by_delta_or_whole(home, config, target, &mut mirrors, progress);
    // What was wrong with whom is told also when another mirror was good.
    mirrors.save(&config.repositories)?;
    let fetched = fetched?;
    partial::sweep(home, &fetched.path)?;
    Ok(fetched)
}

fn by_delta_or_whole(
    home: &Home,
    config: &Config,
    target: VerifiedTarget,
    mirrors: &mut Mirrors,
    progress: &mut dyn FnMut(u64),
) -> Result<Fetched, FetchError> {
    let mut pace = Pace::new(config.fetch.rate);
    if let Some(delta) = delta::worth_it(home, config, &target)? {
        let wanted = Wanted::delta(&delta);
        space(home, config, &target, delta.length)?;
        let partial = Partial::open(home, &delta.sha256, delta.length, progress)?;
        let mut download =
            Download { config, mirrors, pace: &mut pace, progress, patience: PATIENCE };
        if let Ok((file, path)) = download.run(&wanted, partial)? {
            let mut packed = Packed::Delta { file, base: delta.from };
            if delta::gives(home, &mut packed, &target) {
                return Ok(Fetched { target, packed, path });
            }
            discard(&path)?;
        }
    }
    let partial = Partial::open(home, target.sha256(), target.length(), progress)?;
    space(home, config, &target, target.length().saturating_sub(partial.length()))?;
    let wanted = Wanted {
        at: target.served_at(),
        blob: Blob { sha256: *target.sha256(), length: target.length() },
        what: For::Artifact,
    };
    let mut download = Download { config, mirrors, pace: &mut pace, progress, patience: PATIENCE };
    match download.run(&wanted, partial)? {
        Ok((file, path)) => {
            // Whatever was wrong with deltas is worth another try with the next release.
            for repository in &config.repositories {
                mirrors.worked(repository, For::Delta);
            }
            Ok(Fetched { target, packed: Packed::Whole(file), path })
        }
        Err(tried) => Err(FetchError::NoMirror { path: target.path().to_owned(), tried }),
    }
}

/// Checks the space for what is to come and for what it unpacks to.
fn space(
    home: &Home,
    config: &Config,
    target: &VerifiedTarget,
    to_come: u64,
) -> Result<(), FetchError> {
    let path = home.store();
    let floor = config.free_space;
    let unpacked = target.release().artifact.length;
    let need = to_come.saturating_add(unpacked).saturating_add(floor);
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

#[cfg(test)]
mod tests;
