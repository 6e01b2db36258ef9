//! Reading with a limit, writing so that a crash leaves the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// What a file is called before it is whole.
pub(crate) const NEW: &str = ".countersign-new-";

/// Reads a whole regular file of at most `limit` bytes.
///
/// # Errors
/// It cannot be read, is no regular file, or is longer.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_open(open_regular(path, 0)?, limit)
}

/// The same for a file that others chose the directory of: a link in its place is refused.
///
/// # Errors
/// As [`read_limited`], or it is a link.
pub fn read_limited_no_link(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_open(open_no_link(path)?, limit)
}

/// Opens a regular file to read; a link in its place is refused.
///
/// # Errors
/// It cannot be opened, or is something else.
pub fn open_no_link(path: &Path) -> io::Result<File> {
    open_regular(path, nix::libc::O_NOFOLLOW)
}

/// What is no regular file is opened without waiting for anybody, and closed again.
pub(crate) fn open_regular(path: &Path, more: i32) -> io::Result<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY | nix::libc::O_CLOEXEC | more;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

fn read_open(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("longer than the limit of {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Replaces `path` with `bytes` in one step, durably.
///
/// # Errors
/// The directory cannot be written.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::scratch::sweep(dir, &[NEW]);
    let mut file = crate::scratch::file(dir, NEW)?;
    file.write_all(bytes)?;
    place(file, path)
}

/// Syncs a temporary file and renames it to `path` in the same directory, readable by all.
///
/// # Errors
/// It cannot be synced or renamed.
pub fn place(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}

/// Removes a tree whose directories may be read-only. What is not there is no error.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => make_writable(path)?,
    }
    fs::remove_dir_all(path)
}

fn make_writable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_a_files_place_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read_limited(&path, 9).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read_limited_no_link(&path, 9).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_link_in_a_files_place_is_refused_where_others_chose_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert_eq!(read_limited(&link, 9).unwrap(), b"x");
        assert!(read_limited_no_link(&link, 9).is_err());
    }
}
