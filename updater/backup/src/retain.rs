//! Forgets old copies in the store, and what only they were made of.

use countersign_updater::config::backup::Keep;
use jiff::Zoned;
use rustic_core::{KeepOptions, PruneOptions};

use crate::BackupError;
use crate::repository::Repository;

/// Forgets what `keep` does not keep. Returns the names of those copies.
///
/// Their data is marked now, and removed by a run that comes a day later: by then nobody who was just taken over from
/// still writes.
///
/// # Errors
/// The store fails, or is not this node's any more.
pub fn retain(repository: &Repository, keep: &Keep) -> Result<Vec<String>, BackupError> {
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let some = |count: u32| (count > 0).then(|| number(count));
    let options = KeepOptions::default()
        .keep_last(Some(number(keep.last.max(1))))
        .keep_daily(some(keep.daily))
        .keep_weekly(some(keep.weekly))
        .keep_monthly(some(keep.monthly));
    let failed = |error: Box<rustic_core::RusticError>| repository.failed("tidy", &error);
    let decided = options.apply(repository.snapshots()?, &Zoned::now()).map_err(failed)?;
    let old: Vec<_> =
        decided.into_iter().filter(|one| !one.keep).map(|one| one.snapshot.id).collect();
    if old.is_empty() {
        return Ok(Vec::new());
    }
    repository.unlocked()?;
    repository.inner.delete_snapshots(&old).map_err(failed)?;
    let options = PruneOptions::default();
    let plan = repository.inner.prune_plan(&options).map_err(failed)?;
    repository.inner.prune(&options, plan).map_err(failed)?;
    match repository.trouble.take() {
        Some(trouble) => Err(trouble),
        None => Ok(old.iter().map(|id| id.to_hex().as_str().to_owned()).collect()),
    }
}
