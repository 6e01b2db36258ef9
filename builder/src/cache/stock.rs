//! What the cache holds: listed, hashed anew, and removed where nobody has used it for long.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use countersign_metadata::Sha256;
use serde::Serialize;

use crate::environment;
use crate::inputs;

/// Why the cache cannot be looked through.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A run uses it.
    #[error("another run uses the cache")]
    Busy,
    /// Something cannot be read or removed.
    #[error("cannot look through the cache: {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What something in the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A locked input.
    Input,
    /// The tree of an environment.
    Environment,
}

impl Kind {
    /// Its name, as people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Environment => "environment",
        }
    }

    fn dir(self, cache: &Path) -> PathBuf {
        match self {
            Self::Input => inputs::dir(cache),
            Self::Environment => environment::store_dir(cache),
        }
    }
}

/// Something that the cache holds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// What it is.
    pub kind: Kind,
    /// The digest that it is kept under.
    pub sha256: Sha256,
    /// Bytes of its files.
    pub bytes: u64,
    /// Seconds since a run last used it.
    pub unused_seconds: u64,
}

impl Kept {
    fn path(&self, cache: &Path) -> PathBuf {
        self.kind.dir(cache).join(self.sha256.to_string())
    }
}

/// All that is kept under a digest: inputs, then environments, each with what was not used for longest first.
///
/// # Errors
/// The cache cannot be read.
pub fn list(cache: &Path) -> Result<Vec<Kept>, CacheError> {
    let now = SystemTime::now();
    let mut all = Vec::new();
    for kind in [Kind::Input, Kind::Environment] {
        let dir = kind.dir(cache);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&dir)(error)),
        };
        for entry in entries {
            let path = entry.map_err(failed(&dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Whatever else lies there is not kept under a digest, or not ours.
            let Ok(sha256) = name.parse::<Sha256>() else { continue };
            let used = super::last_used(&path).map_err(failed(&path))?;
            let unused_seconds = now.duration_since(used).unwrap_or_default().as_secs();
            let bytes = size(&path).map_err(failed(&path))?;
            all.push(Kept { kind, sha256, bytes, unused_seconds });
        }
    }
    all.sort_by_key(|kept| (kept.kind, std::cmp::Reverse(kept.unused_seconds), kept.sha256));
    Ok(all)
}

/// Hashes everything anew, and returns what is not what its name says. `now` is told what is looked at.
///
/// # Errors
/// The cache cannot be read.
pub fn verify(cache: &Path, now: &dyn Fn(&str)) -> Result<Vec<Kept>, CacheError> {
    let mut damaged = Vec::new();
    for kept in list(cache)? {
        now(&format!("hashing {} {}", kept.kind.name(), kept.sha256));
        let path = kept.path(cache);
        let found = match kept.kind {
            Kind::Input => inputs::hash(&path).ok(),
            Kind::Environment => environment::hash_tree(&path).ok(),
        };
        crate::interrupt::check().map_err(failed(&path))?;
        // What cannot be read is no more whole than what was changed.
        if found != Some(kept.sha256) {
            damaged.push(kept);
        }
    }
    Ok(damaged)
}

/// Removes what no run has used for `unused`, and returns it. With `only_say` nothing is removed.
///
/// # Errors
/// [`CacheError::Busy`] while a run uses the cache; something cannot be removed.
pub fn prune(cache: &Path, unused: Duration, only_say: bool) -> Result<Vec<Kept>, CacheError> {
    if !cache.is_dir() {
        return Ok(Vec::new());
    }
    let alone = super::lock_file(cache).map_err(failed(cache))?;
    match alone.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(CacheError::Busy),
        Err(fs::TryLockError::Error(error)) => return Err(failed(cache)(error)),
    }
    let mut all = list(cache)?;
    all.retain(|kept| kept.unused_seconds >= unused.as_secs());
    if only_say {
        return Ok(all);
    }
    for kept in &all {
        let path = kept.path(cache);
        let removed = match kept.kind {
            Kind::Input => fs::remove_file(&path),
            Kind::Environment => environment::remove_tree(&path),
        };
        removed.map_err(failed(&path))?;
        crate::interrupt::check().map_err(failed(&path))?;
    }
    environment::forget_missing(cache);
    Ok(all)
}

/// Bytes of a file, or of all files below a directory.
fn size(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += size(&entry?.path())?;
    }
    Ok(bytes)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::inputs::Inputs;

    const DAY: Duration = Duration::from_hours(24);

    fn age(path: &Path, days: u32) {
        let then = fs::FileTimes::new().set_accessed(SystemTime::now() - days * DAY);
        File::open(path).unwrap().set_times(then).unwrap();
    }

    #[test]
    fn what_nobody_has_used_for_long_goes_and_what_is_used_stays() {
        let cache = tempfile::tempdir().unwrap();
        let inputs = Inputs::open(cache.path(), Vec::new()).unwrap();
        let (old, _) = inputs.add(&b"old"[..]).unwrap();
        let (used, blob) = inputs.add(&b"used again"[..]).unwrap();
        fs::write(inputs::dir(cache.path()).join("notes"), "somebody's").unwrap();
        age(&old, 40);
        age(&used, 40);
        inputs.find("x", &blob.sha256).unwrap().unwrap();
        assert_eq!(list(cache.path()).unwrap().len(), 2);

        assert!(matches!(prune(cache.path(), 30 * DAY, false), Err(CacheError::Busy)));
        drop(inputs);
        assert_eq!(prune(cache.path(), 30 * DAY, true).unwrap().len(), 1);
        assert!(old.exists());
        let gone = prune(cache.path(), 30 * DAY, false).unwrap();
        assert_eq!((gone.len(), gone[0].bytes, gone[0].unused_seconds / 86_400), (1, 3, 40));
        assert!(!old.exists() && used.exists());
        assert_eq!(prune(cache.path(), Duration::ZERO, false).unwrap().len(), 1);
        assert!(inputs::dir(cache.path()).join("notes").exists());
        assert!(prune(&cache.path().join("nowhere"), Duration::ZERO, false).unwrap().is_empty());
    }

    #[test]
    fn what_was_changed_is_found_and_left() {
        let cache = tempfile::tempdir().unwrap();
        let inputs = Inputs::open(cache.path(), Vec::new()).unwrap();
        let (path, blob) = inputs.add(&b"good"[..]).unwrap();
        assert!(verify(cache.path(), &|_| ()).unwrap().is_empty());
        fs::write(&path, "evil").unwrap();
        let damaged = verify(cache.path(), &|_| ()).unwrap();
        assert_eq!((damaged.len(), damaged[0].sha256), (1, blob.sha256));
        assert!(path.exists());
    }
}
