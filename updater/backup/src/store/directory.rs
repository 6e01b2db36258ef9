//! A directory as a store: another disk, or a share that is mounted.
//!
//! ```text
//! TO/tmp/             what is being written; renamed into place when it is on the disk
//! TO/.countersign.lock   held for the time of one change of the marker
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_metadata::Sha256;
use countersign_updater::durable;
use jiff::Timestamp;

use super::{Entry, MARKER, MAX_MARKER, Stamp, Store, StoreError, Swapped, is_refusal};

/// How long another writer's change of the marker is waited for.
const LONGEST_LOCK: Duration = Duration::from_secs(10);
/// Directories are not followed deeper.
const DEPTH: usize = 4;

/// A directory that is there already: one that is not is a disk that was unplugged, and never made.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    place: String,
}

impl Directory {
    /// The store in `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), place: root.display().to_string() }
    }

    fn path(&self, path: &str) -> Result<PathBuf, StoreError> {
        match self.root.is_dir() {
            true => Ok(self.root.join(path)),
            false => Err(StoreError::Gone(self.place.clone())),
        }
    }

    fn failed(&self, what: &str, path: &Path, error: &io::Error) -> StoreError {
        let name = path.strip_prefix(&self.root).unwrap_or(path).display();
        let (what, place) = (format!("{what} {name}"), self.place.clone());
        let reason = error.to_string();
        match is_refusal(error) {
            true => StoreError::Refused { what, place, reason },
            false => StoreError::Unreachable { what, place, reason },
        }
    }

    fn walk(&self, dir: &Path, depth: usize, found: &mut Vec<Entry>) -> Result<(), StoreError> {
        let failed = |error: io::Error| self.failed("list", dir, &error);
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let path = entry.path();
            if kind.is_dir() && depth > 0 {
                self.walk(&path, depth - 1, found)?;
            } else if kind.is_file()
                && let Some(name) = path.strip_prefix(&self.root).ok().and_then(Path::to_str)
            {
                let meta = match entry.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    meta => meta.map_err(failed)?,
                };
                let modified = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
                found.push(Entry { path: name.to_owned(), size: meta.len(), modified });
            }
        }
        Ok(())
    }

    fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(above) = dir.parent().filter(|above| above.starts_with(&self.root)) {
            self.make_dir(above)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.failed("make", dir, &error))
            }
            _ => durable::sync_parent(dir).map_err(|_| self.unsynced(dir)),
        }
    }

    fn unsynced(&self, path: &Path) -> StoreError {
        self.failed("sync", path, &io::Error::other("its directory cannot be synced"))
    }

    /// Writes beside, syncs, and renames into place.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let tmp = self.root.join("tmp");
        self.make_dir(&tmp)?;
        if let Some(above) = path.parent() {
            self.make_dir(above)?;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let tmp = tmp.join(format!("{name}-{}-{number}-{now}", std::process::id()));
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tmp)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&tmp, path)
        })();
        if let Err(error) = written {
            let _nothing_to_remove = fs::remove_file(&tmp);
            return Err(self.failed("write", path, &error));
        }
        durable::sync_parent(path).map_err(|_| self.unsynced(path))
    }
}

impl Store for Directory {
    fn place(&self) -> &str {
        &self.place
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        self.walk(&self.path(directory)?, DEPTH, &mut found)?;
        Ok(found)
    }

    fn get(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let full = self.path(path)?;
        match fs::metadata(&full) {
            Ok(meta) if meta.len() > max => {
                Err(StoreError::Length { place: self.place.clone(), path: path.to_owned() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", &full, &error)),
            Ok(_) => fs::read(&full).map(Some).map_err(|e| self.failed("read", &full, &e)),
        }
    }

    fn part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let full = self.path(path)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = File::open(&full).and_then(|file| file.read_exact_at(&mut bytes, offset));
        let (place, path) = (self.place.clone(), path.to_owned());
        match read {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Missing { place, path })
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(StoreError::Length { place, path })
            }
            Err(error) => Err(self.failed("read", &full, &error)),
        }
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let full = self.path(path)?;
        match fs::metadata(&full) {
            // Names are digests: the same name and length is the same object, put by an attempt that was cut off.
            Ok(meta) if meta.len() == bytes.len() as u64 => Ok(()),
            _ => self.replace(&full, bytes),
        }
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        let full = self.path(path)?;
        match fs::remove_file(&full) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", &full, &error))
            }
            _ => Ok(()),
        }
    }

    fn marker(&self) -> Result<Option<(Vec<u8>, Stamp)>, StoreError> {
        let bytes = self.get(MARKER, MAX_MARKER)?;
        Ok(bytes.map(|bytes| {
            let stamp = Stamp(Sha256::of(&bytes).to_string());
            (bytes, stamp)
        }))
    }

    fn swap_marker(&self, before: Option<&Stamp>, bytes: &[u8]) -> Result<Swapped, StoreError> {
        let lock = self.path(".countersign.lock")?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&lock);
        let file = file.map_err(|error| self.failed("open", &lock, &error))?;
        durable::lock_within(&file, LONGEST_LOCK).map_err(|e| self.failed("lock", &lock, &e))?;
        let now = self.marker()?.map(|(_, stamp)| stamp);
        if now.as_ref() != before {
            return Ok(Swapped::Lost);
        }
        self.replace(&self.path(MARKER)?, bytes)?;
        Ok(Swapped::Done)
    }

    fn is_atomic(&self) -> Result<bool, StoreError> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_put_once_read_in_parts_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::new(dir.path());
        store.put("data/ab/abc", b"0123456789").unwrap();
        store.put("config", b"c").unwrap();
        assert_eq!(store.part("data/ab/abc", 3, 4).unwrap(), b"3456");
        assert!(matches!(store.part("data/ab/abc", 8, 4), Err(StoreError::Length { .. })));
        assert!(matches!(store.part("data/ab/x", 0, 1), Err(StoreError::Missing { .. })));
        assert_eq!(store.get("none", 10).unwrap(), None);
        assert!(matches!(store.get("data/ab/abc", 9), Err(StoreError::Length { .. })));
        let listed = store.list("data").unwrap();
        assert_eq!((listed.len(), &*listed[0].path, listed[0].size), (1, "data/ab/abc", 10));
        assert!(store.list("snapshots").unwrap().is_empty());
        store.remove("data/ab/abc").unwrap();
        store.remove("data/ab/abc").unwrap();
        assert!(store.list("data").unwrap().is_empty() && store.list("tmp").unwrap().is_empty());
    }

    #[test]
    fn a_disk_that_is_not_there_is_no_empty_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::new(&dir.path().join("unplugged"));
        assert!(matches!(store.list("data"), Err(StoreError::Gone(_))));
        assert!(matches!(store.get("config", 1), Err(StoreError::Gone(_))));
        assert!(matches!(store.put("config", b"x"), Err(StoreError::Gone(_))));
        assert!(matches!(store.swap_marker(None, b"x"), Err(StoreError::Gone(_))));
        assert!(!dir.path().join("unplugged").exists());
    }

    #[test]
    fn of_two_that_replace_the_same_marker_one_is_told_that_it_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::new(dir.path());
        assert_eq!(store.swap_marker(None, b"1").unwrap(), Swapped::Done);
        assert_eq!(store.swap_marker(None, b"2").unwrap(), Swapped::Lost);
        let (bytes, stamp) = store.marker().unwrap().unwrap();
        assert_eq!(bytes, b"1");
        assert_eq!(store.swap_marker(Some(&stamp), b"2").unwrap(), Swapped::Done);
        assert_eq!(store.swap_marker(Some(&stamp), b"3").unwrap(), Swapped::Lost);
        assert_eq!(store.marker().unwrap().unwrap().0, b"2");
    }
}
