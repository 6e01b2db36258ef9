//! Key files on disk: read only where nobody else can, written once, never overwritten.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest key or password file, in bytes.
const MAX_SECRET: usize = 4096;

/// A file that cannot be read or written as it must be.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// Others than its owner can read or write it.
    #[error("{path} can be read or written by others (mode {mode:04o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is longer than such a file can be.
    #[error("{path} is longer than {limit} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// It is there already.
    #[error("{0} exists already and is never overwritten")]
    Exists(PathBuf),
    /// The system said no.
    #[error("{path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn told(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing(path.to_owned()),
        _ => StoreError::Io { path: path.to_owned(), source },
    }
}

/// Reads a file that holds a secret: refused when others can read or write it.
///
/// # Errors
/// It is missing, exposed, too long, or cannot be read.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let file = File::open(path).map_err(told(path))?;
    let meta = file.metadata().map_err(told(path))?;
    let mode = meta.permissions().mode() & 0o7777;
    if meta.is_file() && mode & 0o077 != 0 {
        return Err(StoreError::Exposed { path: path.to_owned(), mode });
    }
    // Reserved beforehand: a buffer that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(2 * MAX_SECRET));
    file.take(MAX_SECRET as u64 + 1).read_to_end(&mut content).map_err(told(path))?;
    if content.len() > MAX_SECRET {
        return Err(StoreError::TooLong { path: path.to_owned(), limit: MAX_SECRET as u64 });
    }
    Ok(content)
}

/// Reads at most `limit` bytes of a public file.
///
/// # Errors
/// It is missing, too long, or cannot be read.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let file = File::open(path).map_err(told(path))?;
    read_from(file, path, limit)
}

/// Reads at most `limit` bytes; `path` names the source in errors.
///
/// # Errors
/// It is too long, or cannot be read.
pub fn read_from(from: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    from.take(limit + 1).read_to_end(&mut content).map_err(told(path))?;
    if content.len() as u64 > limit {
        return Err(StoreError::TooLong { path: path.to_owned(), limit });
    }
    Ok(content)
}

/// Whether a file may come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Only where there is none: keys.
    Never,
    /// In place of an older one: signatures, pinned roots.
    Replace,
}

/// Writes a whole file or none: temporary file beside it, fsync, rename (or link), fsync of the directory.
///
/// # Errors
/// It exists and must not be overwritten, or the system said no.
pub fn write(path: &Path, bytes: &[u8], mode: u32, over: Overwrite) -> Result<(), StoreError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // Born with mode 0600, and opened up only after it is complete.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(told(path))?;
    file.write_all(bytes).map_err(told(path))?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(told(path))?;
    file.as_file().sync_all().map_err(told(path))?;
    let persisted = match over {
        Overwrite::Never => file.persist_noclobber(path),
        Overwrite::Replace => file.persist(path),
    };
    persisted.map_err(|e| match e.error.kind() {
        io::ErrorKind::AlreadyExists => StoreError::Exists(path.to_owned()),
        _ => StoreError::Io { path: path.to_owned(), source: e.error },
    })?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(told(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_once_for_its_owner_only_and_refused_when_others_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice.key");
        write(&path, b"one", 0o600, Overwrite::Never).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = write(&path, b"two", 0o600, Overwrite::Never);
        assert!(matches!(again, Err(StoreError::Exists(_))));
        assert_eq!(*read_secret(&path).unwrap(), b"one");
        for mode in [0o640, 0o604, 0o620, 0o602] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read_secret(&path), Err(StoreError::Exposed { .. })), "{mode:o}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
