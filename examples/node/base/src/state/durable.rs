//! Files that are there as a whole, or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, IntoInnerError, Write};
use std::path::{Path, PathBuf};

use crate::failure::{OrFail, Outcome};

/// Puts `bytes` at `path`, atomically and durably.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Outcome<()> {
    create_with(path, |file| file.write_all(bytes).or_fail("write"))
}

/// Puts what `write` writes at `path`: beside it first, then fsync, rename, fsync of the directory.
/// What a killed attempt left beside it is written over.
pub(crate) fn create_with(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Outcome<()>,
) -> Outcome<()> {
    let beside = beside(path);
    let doing = format_args!("write {}", beside.display());
    let mut file = BufWriter::new(File::create(&beside).or_fail(doing)?);
    write(&mut file)?;
    file.into_inner()
        .map_err(IntoInnerError::into_error)
        .and_then(|file| file.sync_all())
        .or_fail(doing)?;
    fs::rename(&beside, path).or_fail(format_args!("replace {}", path.display()))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Outcome<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .or_fail(format_args!("write {}", path.display()))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
