//! Brings one snapshot of this disk into the store.

use countersign_updater::Home;
use countersign_updater::backup::Local;
use countersign_updater::durable;
use countersign_updater::generation::{Generation, GenerationError};
use countersign_updater::state::{Secrets, snapshot};
use jiff::tz::TimeZone;
use rustic_core::{BackupOptions, ParentOptions, RepairIndexOptions, SnapshotOptions};

use crate::repository::{Repository, WITHOUT_SECRETS, tags};
use crate::source::Source;
use crate::{BackupError, Copy};

/// Longest generation file, in bytes.
pub(crate) const MAX_GENERATION: u64 = 1 << 20;

/// What an attempt before this one left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing that is not in the index.
    Nothing,
    /// Packs, perhaps, that no index names: they are found and used again.
    CutOff,
}

/// What of a snapshot goes into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whether {
    /// All of it.
    WithSecrets,
    /// All but what its release calls secret.
    WithoutSecrets,
}

/// Copies `local` into the repository, every byte of it compared with its manifest on the way. A copy that is there
/// already is all that is wanted.
///
/// # Errors
/// The snapshot is gone or damaged, or the store fails. What was sent by then names nothing.
pub fn upload(
    home: &Home,
    repository: &Repository,
    local: &Local,
    before: Before,
    secrets: Whether,
) -> Result<Copy, BackupError> {
    repository.unlocked()?;
    if let Some(copy) = repository.copy_of(local)? {
        return Ok(copy);
    }
    let failed = |error: Box<rustic_core::RusticError>| repository.failed("write", &error);
    if before == Before::CutOff {
        let options = RepairIndexOptions::default();
        repository.inner.repair_index(&options, false).map_err(failed)?;
    }
    let number = local.snapshot;
    let mut manifest = snapshot::manifest(home, number)?;
    let generation = Generation::read(home, number)?;
    let secret = Secrets::of(&generation);
    let left_out = secrets == Whether::WithoutSecrets && !secret.paths().is_empty();
    if left_out {
        let elsewhere = |path| BackupError::SecretElsewhere { number, path };
        manifest = manifest.without(&secret).map_err(elsewhere)?;
    }
    let path = home.generation(number).join("generation.json");
    let bytes = durable::read(&path, MAX_GENERATION)?;
    let bytes = bytes.ok_or(GenerationError::Missing(number))?;
    let trouble = repository.trouble.clone();
    let source = Source::new(number, &home.snapshot(number), &manifest, bytes, trouble)?;

    let mut options = SnapshotOptions::default()
        .label(generation.product.to_string())
        .host(generation.product.to_string())
        .command("countersign-backup".to_owned())
        .time(manifest.at.to_zoned(TimeZone::UTC));
    for tag in tags(local, &generation.version.to_string()) {
        options = options.add_tags(&tag).map_err(failed)?;
    }
    if left_out {
        options = options.add_tags(WITHOUT_SECRETS).map_err(failed)?;
    }
    let blank = options.to_snapshot().map_err(failed)?;
    // Each snapshot is a new copy on this disk, so times prove nothing: all is read, and what is known is not sent.
    let parent = ParentOptions::default().force(true);
    let options = BackupOptions::default().no_scan(true).parent_opts(parent);
    let indexed = repository.again()?.to_indexed_ids().map_err(failed)?;
    let archived = indexed.archive(&options, &source, blank, &["/".into()]);
    // The library goes on where it can: what it was refused counts, and not what it says.
    match (archived, repository.trouble.take()) {
        (_, Some(trouble)) => Err(trouble),
        (Err(error), None) => Err(failed(error)),
        (Ok(file), None) => Ok(Copy::of(&file)),
    }
}
