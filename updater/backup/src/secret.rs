//! Secrets come from files that only their owner may read, or from the environment; never from arguments.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use countersign_updater::durable::{self, DiskError};
use rusty_s3::Credentials;
use zeroize::Zeroizing;

use crate::store::StoreError;

/// Longest file with a secret, in bytes.
const MAX_FILE: u64 = 1 << 16;

/// A password that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not there.
    #[error("there is no file {0}")]
    Missing(PathBuf),
    /// Others may read it.
    #[error("others may read {0}")]
    Open(PathBuf),
    /// It holds nothing, or no text.
    #[error("{0} holds no line of text")]
    Empty(PathBuf),
}

/// The first line of a file that only its owner may read.
///
/// # Errors
/// It is not there, open to others, or empty.
pub fn password(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let text = read(path)?;
    let line = text.lines().next().unwrap_or_default();
    match line.is_empty() {
        true => Err(SecretError::Empty(path.to_owned())),
        false => Ok(Zeroizing::new(line.to_owned())),
    }
}

/// The store's credentials: `AWS_ACCESS_KEY_ID=…` and so on, a line each, from a file or from the environment.
pub(crate) fn credentials(file: Option<&Path>) -> Result<Credentials, StoreError> {
    let Some(path) = file else {
        return Credentials::from_env().ok_or_else(|| {
            let what = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set";
            StoreError::Credentials(what.to_owned())
        });
    };
    let text = read(path).map_err(|error| {
        StoreError::Credentials(countersign_updater::trust_store::chain(&error))
    })?;
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.trim().split_once('='));
        let mut values = lines.filter(|(key, _)| key.trim() == name);
        values.next().map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let missing = |name: &str| StoreError::Credentials(format!("{} has no {name}", path.display()));
    let key = value("AWS_ACCESS_KEY_ID").ok_or_else(|| missing("AWS_ACCESS_KEY_ID"))?;
    let secret = value("AWS_SECRET_ACCESS_KEY").ok_or_else(|| missing("AWS_SECRET_ACCESS_KEY"))?;
    Ok(match value("AWS_SESSION_TOKEN") {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    })
}

fn read(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    match fs::metadata(path) {
        Err(_) => return Err(SecretError::Missing(path.to_owned())),
        Ok(meta) if meta.mode() & 0o077 != 0 => return Err(SecretError::Open(path.to_owned())),
        Ok(_) => {}
    }
    let bytes = durable::read(path, MAX_FILE)?;
    let bytes = Zeroizing::new(bytes.ok_or_else(|| SecretError::Missing(path.to_owned()))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::Empty(path.to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_secret_that_others_may_read_is_none() {
        let (_dir, path) = file("word\nmore", 0o600);
        assert_eq!(*password(&path).unwrap(), "word");
        let (_dir, path) = file("word", 0o640);
        assert!(matches!(password(&path), Err(SecretError::Open(_))));
        let (_dir, path) = file("\nword", 0o600);
        assert!(matches!(password(&path), Err(SecretError::Empty(_))));
        assert!(matches!(password(Path::new("/nonexistent")), Err(SecretError::Missing(_))));
    }

    #[test]
    fn credentials_are_lines_and_never_shown() {
        let text = "# s3\nAWS_ACCESS_KEY_ID=an-id\nAWS_SECRET_ACCESS_KEY=\"hidden\"\n";
        let (_dir, path) = file(text, 0o600);
        let credentials = credentials(Some(&path)).unwrap();
        assert_eq!((credentials.key(), credentials.secret()), ("an-id", "hidden"));
        assert!(!format!("{credentials:?}").contains("hidden"));
        let (_dir, path) = file("AWS_ACCESS_KEY_ID=an-id\n", 0o600);
        let error = super::credentials(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("has no AWS_SECRET_ACCESS_KEY"), "{error}");
    }
}
