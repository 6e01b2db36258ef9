//! Writes that survive a power cut: temporary file, fsync, rename, fsync of the directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Makes a directory that may exist already, and its entry durable.
///
/// # Errors
/// It cannot be made.
pub fn make_dir(path: &Path) -> Result<(), DiskError> {
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(DiskError::new("make", path, error)),
    }
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
}
