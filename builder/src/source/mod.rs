//! Sources become one canonical tar, which is an input like the others: what is built is what was digested.

pub mod debian;
mod directory;
pub mod git;
mod origin;
mod tree;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use countersign_metadata::release::Blob;

use crate::Inside;
use crate::inputs::{InputError, Inputs};
use crate::pack::{self, Cap, PackError, Plan, Strip, UnpackError};

pub use directory::of_directory;
pub use origin::{Fetched, from_lock, newly, wanted};

/// A canonical source tar in the store of inputs.
#[derive(Clone, Debug)]
pub struct SourceTar {
    /// The file.
    pub path: PathBuf,
    /// Its digest and length.
    pub blob: Blob,
}

/// Why there is no source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be part of a canonical archive.
    #[error("the source cannot be packed")]
    Pack(#[from] PackError),
    /// An archive of the source is refused.
    #[error("the source archive {name} cannot be unpacked")]
    Unpack {
        /// The archive.
        name: String,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// git does not say which files are tracked.
    #[error("git does not list the files of {dir}: {what}")]
    Git {
        /// The directory.
        dir: PathBuf,
        /// What git said.
        what: String,
    },
    /// A commit cannot be fetched.
    #[error("cannot fetch the commit {commit}: {what}")]
    NoCommit {
        /// Its id.
        commit: String,
        /// Why.
        what: String,
    },
    /// A commit is not what its id says.
    #[error("the commit {commit} is refused: {what}")]
    Commit {
        /// Its id.
        commit: String,
        /// What is wrong.
        what: String,
    },
    /// The store of inputs fails.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A directory cannot be read or made.
    #[error("cannot lay the source out: {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn pack_source(plan: &Plan, epoch: u64, inputs: &Inputs) -> Result<SourceTar, SourceError> {
    let (path, blob) =
        inputs.add_written(|sink| pack::write_tar(plan, epoch, sink).map_err(SourceError::from))?;
    Ok(SourceTar { path, blob })
}

/// A source tar that is at hand already.
///
/// # Errors
/// It is not.
pub fn stored(blob: &Blob, inputs: &Inputs) -> Result<SourceTar, SourceError> {
    let input = countersign_metadata::release::Input { name: "source".to_owned(), blob: *blob };
    Ok(SourceTar { path: inputs.get(&input)?, blob: *blob })
}

/// A small file of a source; `None` where it has none of that name.
///
/// # Errors
/// The tar cannot be read, or the file is longer than `limit`.
pub fn read(tar: &SourceTar, path: &Inside, limit: u64) -> Result<Option<Vec<u8>>, UnpackError> {
    let failed = |source| UnpackError::Io { path: tar.path.clone(), source };
    let file = File::open(&tar.path).map_err(failed)?;
    let mut found = None;
    pack::each(file, Cap::default(), Strip::Nothing, &mut |member, body| {
        if member.path == *path && matches!(member.kind, pack::Kind::File) {
            let mut bytes = Vec::new();
            body.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
            if bytes.len() as u64 > limit {
                let (member, what) = (path.to_string(), format!("it is longer than {limit} bytes"));
                return Err(UnpackError::Refused { member, what });
            }
            found = Some(bytes);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The file names in a source tar; for tests and for people.
///
/// # Errors
/// It cannot be read.
pub fn names(tar: &SourceTar) -> Result<Vec<String>, UnpackError> {
    let mut names = Vec::new();
    let failed = |source| UnpackError::Io { path: tar.path.clone(), source };
    let file = File::open(&tar.path).map_err(failed)?;
    pack::each(file, Cap::default(), Strip::Nothing, &mut |member, _| {
        names.push(member.path.to_string());
        Ok(())
    })?;
    Ok(names)
}
