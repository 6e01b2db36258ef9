//! Deltas: from a release in the store to the one that is wanted. Whatever is wrong with one, the whole file is fetched.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use countersign_metadata::delta::WINDOW_LOG;
use countersign_metadata::digest::Hasher;
use countersign_metadata::trust::VerifiedTarget;
use countersign_metadata::{Delta, Sha256};

use super::Packed;
use super::partial;
use crate::durable::{DiskError, OnDisk};
use crate::stage::base;
use crate::{Config, Home};

/// What a delta may unpack to beyond twice the artifact: nothing that makes sense takes so many instructions.
const SLACK: u64 = 1 << 20;

/// The smallest delta from a release in the store, where it is smaller than what is still to come of the whole file.
pub(super) fn worth_it(
    home: &Home,
    config: &Config,
    target: &VerifiedTarget,
) -> Result<Option<Delta>, DiskError> {
    let whole = partial::path(home, target.sha256());
    let there = match whole.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(DiskError::new("look at", &whole, error)),
    };
    let to_come = target.length().saturating_sub(there);
    let held = |delta: &&Delta| home.stored(&delta.from).is_dir();
    // Who hands artifacts on to others needs them as they are served.
    let wanted = config.fetch.deltas && config.keep_artifacts == 0;
    let deltas = target.deltas().iter().filter(|_| wanted);
    let shorter = deltas.filter(|delta| delta.length < to_come).filter(held);
    Ok(shorter.min_by_key(|delta| delta.length).copied())
}

/// Whether a delta gives the artifact that was signed: tried without writing anything.
pub(super) fn gives(home: &Home, packed: &mut Packed, target: &VerifiedTarget) -> bool {
    let wanted = target.release().artifact;
    let hashed = packed.tar(home, wanted.length).and_then(|tar| {
        let mut hasher = Hasher::default();
        io::copy(&mut tar.take(wanted.length.saturating_add(1)), &mut hasher)?;
        Ok(hasher.finish())
    });
    hashed.is_ok_and(|found| found == (wanted.sha256, wanted.length))
}

/// The canonical tar of `length` bytes that a delta makes of a stored release. Memory is bounded: by the window of the
/// compression, and by the headers of the stored tar.
pub(super) fn tar<'a>(
    home: &Home,
    file: &'a mut File,
    from: &Sha256,
    length: u64,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    file.seek(SeekFrom::Start(0))?;
    let mut decoder = zstd::Decoder::new(file)?;
    decoder.window_log_max(WINDOW_LOG)?;
    let most = length.saturating_mul(2).saturating_add(SLACK);
    let instructions = BufReader::new(decoder.take(most));
    let old =
        base::open(home, from).on_disk("read", &home.stored(from)).map_err(io::Error::other)?;
    let new = bipatch::Reader::new(instructions, old).map_err(io::Error::other)?;
    Ok(Box::new(new))
}
