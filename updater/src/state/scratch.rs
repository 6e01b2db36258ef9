//! The one place where the updater removes copies of state. Live data has no way in here.
//!
//! Whoever calls says which directory holds copies only; what lies elsewhere is refused. A data directory
//! (`NODE/state/K`) is none of those, so that no path can reach it from here.

use std::fs;
use std::io;
use std::path::Path;

use super::manifest::is_plain;
use crate::durable::DiskError;

/// Removes what lies at `path`, strictly below the directory `copies`; what is not there is no error.
///
/// # Errors
/// It lies elsewhere, or the disk fails.
#[expect(clippy::disallowed_methods, reason = "a copy: it was just looked at whether it is one")]
pub(crate) fn remove_below(copies: &Path, path: &Path) -> Result<(), DiskError> {
    if !path.strip_prefix(copies).is_ok_and(is_plain) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no copy of ours");
        return Err(DiskError::new("remove", path, error));
    }
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("remove", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_the_copies_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (copies, state) = (dir.path().join("snapshots"), dir.path().join("state/1"));
        fs::create_dir_all(copies.join("1/tree")).unwrap();
        fs::create_dir_all(&state).unwrap();
        for path in [&state, &copies, &copies.join("../state/1"), &copies.join("1/../../state/1")] {
            assert!(remove_below(&copies, path).is_err(), "{}", path.display());
        }
        assert!(state.is_dir());
        remove_below(&copies, &copies.join("1")).unwrap();
        remove_below(&copies, &copies.join("1")).unwrap();
        assert!(!copies.join("1").exists());
    }
}
