//! Writes that survive a power cut: temporary file, fsync, rename, fsync of the directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something on the disk that did not work, with the path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}")]
pub struct DiskError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl DiskError {
    /// `what` is a verb: "read", "write".
    pub fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self { what, path: path.to_owned(), source }
    }

    /// What the system said.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Attaches a verb and a path to an I/O error.
pub trait OnDisk<T> {
    /// `what` is a verb: "read", "write".
    ///
    /// # Errors
    /// The error itself, with the path.
    fn on_disk(self, what: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> OnDisk<T> for io::Result<T> {
    fn on_disk(self, what: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError::new(what, path, source))
    }
}

/// Replaces `path` by `bytes` (mode 0644): whoever reads sees the old bytes or the new, also after a power cut.
///
/// # Errors
/// The disk is full, or the directory cannot be written. The old file is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    write_with_mode(path, bytes, 0o644)
}

/// [`write()`] with other permissions.
///
/// # Errors
/// As [`write()`].
pub fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let temporary = sibling(path);
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        let _nothing_to_remove = fs::remove_file(&temporary);
        return Err(DiskError::new("write", path, error));
    }
    sync_parent(path)
}

/// Points the symbolic link `path` to `target` by one rename.
///
/// # Errors
/// As [`write()`].
pub fn replace_link(path: &Path, target: &Path) -> Result<(), DiskError> {
    let temporary = sibling(path);
    let linked = symlink(target, &temporary).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = linked {
        let _nothing_to_remove = fs::remove_file(&temporary);
        return Err(DiskError::new("replace", path, error));
    }
    sync_parent(path)
}

/// Replaces `path` by `bytes` that only its owner may read (mode 0600).
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    write_with_mode(path, bytes, 0o600)
}

/// Makes a directory for its owner only (mode 0700), and its entry durable. One that exists stays as it is.
///
/// # Errors
/// It cannot be made.
pub fn make_dir(path: &Path) -> Result<(), DiskError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(DiskError::new("make", path, error)),
    }
}

/// Opens a file to append to, or to lock; a new one is for its owner only (mode 0600).
///
/// # Errors
/// It cannot be opened or made.
pub fn append_to(path: &Path) -> Result<File, DiskError> {
    File::options().append(true).create(true).mode(0o600).open(path).on_disk("open", path)
}

/// Locks `file` for this process alone, however many wait for it, but for no longer than `limit`: whoever may open
/// a file may lock it, and keep it locked.
///
/// # Errors
/// `TimedOut`: somebody else has had it all the time.
pub fn lock_within(file: &File, limit: Duration) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if began.elapsed() >= limit => {
                let what = format!("another process has had it locked for {limit:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            Err(fs::TryLockError::WouldBlock) => breathe(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nobody tells when a lock is free; there is a deadline"
)]
fn breathe() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// It is not there, or the disk fails.
pub fn sync_dir(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|dir| dir.sync_all()).on_disk("sync", path)
}

/// Makes the directory entry of `path` durable.
///
/// # Errors
/// As [`sync_dir`].
pub fn sync_parent(path: &Path) -> Result<(), DiskError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Makes everything written to the file system of `path` durable, in one call.
///
/// # Errors
/// The disk fails.
pub fn sync_file_system(path: &Path) -> Result<(), DiskError> {
    File::open(path)
        .and_then(|file| nix::unistd::syncfs(file).map_err(io::Error::from))
        .on_disk("sync", path)
}

/// Reads a file of at most `max` bytes; `None` if it is not there.
///
/// # Errors
/// It cannot be read or is longer.
pub fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::new("read", path, error)),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, max + 1), &mut bytes).on_disk("read", path)?;
    if bytes.len() as u64 > max {
        let long = io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {max} bytes"));
        return Err(DiskError::new("read", path, long));
    }
    Ok(Some(bytes))
}

/// A name beside `path` that no other writer uses. What a crash leaves behind is never read.
fn sibling(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos());
    path.with_file_name(format!(".{name}.{}-{next}-{now}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"old, and longer").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"new");
        assert!(read(&path, 2).is_err());
        replace_link(&dir.path().join("l"), Path::new("a")).unwrap();
        replace_link(&dir.path().join("l"), Path::new("b")).unwrap();
        assert_eq!(fs::read_link(dir.path().join("l")).unwrap(), Path::new("b"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_lock_that_somebody_keeps_is_waited_for_no_longer_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let (theirs, ours) = (append_to(&path).unwrap(), append_to(&path).unwrap());
        theirs.lock().unwrap();
        let error = lock_within(&ours, Duration::from_millis(30)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        lock_within(&ours, Duration::from_secs(30)).unwrap();
    }
}
