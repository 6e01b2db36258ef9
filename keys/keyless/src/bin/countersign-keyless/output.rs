//! Files: read with a limit, written so that there is a whole bundle or none.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use countersign_console::{Exit, Failure, Hint};
use countersign_metadata::Release;

/// Longest `release.json`, in bytes.
const MAX_RELEASE: u64 = 4 << 20;

/// A small file of the user's.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).or_fail(Exit::Input, cannot())?;
    file.take(limit + 1).read_to_end(&mut bytes).or_fail(Exit::Input, cannot())?;
    if bytes.len() as u64 > limit {
        let sentence = format!("{} is longer than the {limit} bytes that are read", path.display());
        return Err(Failure::new(Exit::Input, sentence));
    }
    Ok(bytes)
}

/// The release that a statement is held against, where one is given.
pub(crate) fn release(path: Option<&Path>) -> Result<Option<Release>, Failure> {
    let Some(path) = path else { return Ok(None) };
    serde_json::from_slice(&read(path, MAX_RELEASE)?)
        .map(Some)
        .or_fail(Exit::Input, format!("{} is no release", path.display()))
}

/// Temporary file beside it, fsync, rename, fsync of the directory.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let put = || {
        let mut file = tempfile::Builder::new().prefix(".countersign-").tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(dir)?.sync_all()
    };
    put().or_fail(Exit::Host, format!("cannot write {}", path.display()))
}
