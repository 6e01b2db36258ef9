//! Where metadata comes from: a door that the law does not open itself.

use std::error::Error;

use super::TrustError;
use super::law::Pin;
use crate::Sha256;
use crate::layout::{self, limit};

/// A repository's files: a web server, a directory, a test.
pub trait Source {
    /// The file at `path`, which is relative to the repository (`metadata/3.root.json`). `Ok(None)`: not there.
    ///
    /// Reads at most `max_bytes` and fails, or returns more than that, when there is more.
    ///
    /// # Errors
    /// The source did not answer, or the file is longer than `max_bytes`.
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError>;
}

/// Why a source did not answer. Made from any error by `?`; trying again can help unless said otherwise.
///
/// Not an [`Error`] itself, so that every error converts into it.
#[derive(Debug)]
pub struct SourceError {
    pub(crate) cause: Box<dyn Error + Send + Sync>,
    pub(crate) retry: bool,
}

impl SourceError {
    /// An error that will be the same on the next attempt.
    pub fn permanent(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: cause.into(), retry: false }
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> bool {
        self.retry
    }

    /// The error below.
    pub fn into_cause(self) -> Box<dyn Error + Send + Sync> {
        self.cause
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for SourceError {
    fn from(cause: E) -> Self {
        Self { cause: Box::new(cause), retry: true }
    }
}

/// A file that may be missing.
pub(super) fn fetch(
    source: &mut dyn Source,
    path: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, TrustError> {
    let answer = source.fetch(path, limit).map_err(|error| TrustError::Unreachable {
        path: path.to_owned(),
        retry: error.retry,
        source: error.cause,
    })?;
    match answer {
        Some(bytes) if bytes.len() as u64 > limit => {
            Err(TrustError::TooLong { path: path.to_owned(), limit })
        }
        answer => Ok(answer),
    }
}

/// A file that must be there.
pub(super) fn need(source: &mut dyn Source, path: &str, limit: u64) -> Result<Vec<u8>, TrustError> {
    fetch(source, path, limit)?.ok_or_else(|| TrustError::Missing { path: path.to_owned() })
}

/// A file that another role promises, exactly as promised: version, and length and digest where they are given.
pub(super) fn pinned(
    source: &mut dyn Source,
    role: &str,
    pin: &Pin,
) -> Result<Vec<u8>, TrustError> {
    let path = layout::metadata(role, pin.version);
    let limit = pin.length.unwrap_or(limit::METADATA);
    if limit > limit::METADATA {
        return Err(TrustError::TooLong { path, limit: limit::METADATA });
    }
    let bytes = need(source, &path, limit)?;
    let other =
        |what: String| TrustError::OtherBytes { role: role.to_owned(), source: what.into() };
    if pin.length.is_some_and(|length| length != bytes.len() as u64) {
        return Err(other(format!("its length is {}, not {limit}", bytes.len())));
    }
    match &pin.sha256 {
        Some(promised) if !promised.eq_ignore_ascii_case(&Sha256::of(&bytes).to_string()) => {
            Err(other(format!("its SHA-256 is not {promised}")))
        }
        _ => Ok(bytes),
    }
}
