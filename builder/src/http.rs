//! A repository over HTTP, or a directory of its files: bytes with a limit, nothing believed.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use countersign_metadata::trust::{Source, SourceError};
use reqwest::StatusCode;
use reqwest::blocking::Client;

use crate::patience::Patient;

const CONNECT: Duration = Duration::from_secs(15);
/// No answer or no further byte for so long is an end.
const SILENCE: Duration = Duration::from_secs(30);

/// Where a published repository's files are.
#[derive(Debug)]
pub enum Repository {
    /// On a web server.
    Http {
        /// Its address, without a slash at the end.
        base: String,
        /// The client.
        client: Client,
    },
    /// In a directory.
    Directory(PathBuf),
}

/// Why a repository cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The address is no address.
    #[error("{0:?} is no repository (an http:// or https:// address, or a directory)")]
    Address(String),
    /// The HTTP client cannot be made.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
    /// A file cannot be fetched; trying again can help.
    #[error("cannot fetch {path}: {what}")]
    Fetch {
        /// Relative to the repository.
        path: String,
        /// Why.
        what: String,
    },
    /// There is no such file.
    #[error("there is no {0}")]
    Gone(String),
    /// It is longer than it may be.
    #[error("{path} is longer than {limit} bytes")]
    TooLong {
        /// Relative to the repository.
        path: String,
        /// In bytes.
        limit: u64,
    },
}

/// A client with limits to its patience. The machine's own proxy settings apply; a redirect changes nothing, as nothing is
/// believed.
///
/// # Errors
/// It cannot be made.
pub(crate) fn client() -> Result<Client, RepositoryError> {
    Client::builder()
        .connect_timeout(CONNECT)
        .timeout(SILENCE.min(crate::patience::longest()))
        .user_agent(concat!("countersign-builder/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(RepositoryError::Client)
}

/// A URL's bytes as a stream, and its length where the server says it. The reader ends it at its own limit.
///
/// # Errors
/// It cannot be fetched, or is said to be longer than `limit`.
pub(crate) fn get(
    client: &Client,
    url: &str,
    accept: Option<&str>,
    limit: u64,
) -> Result<(Box<dyn Read>, Option<u64>), RepositoryError> {
    let failed = |what: String| RepositoryError::Fetch { path: url.to_owned(), what };
    let mut request = client.get(url);
    if let Some(accept) = accept {
        request = request.header(reqwest::header::ACCEPT, accept);
    }
    let answer = request.send().map_err(|e| failed(told(&e)))?;
    if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Err(RepositoryError::Gone(url.to_owned()));
    }
    if !answer.status().is_success() {
        return Err(failed(format!("the server says {}", answer.status())));
    }
    let length = answer.content_length();
    if length.is_some_and(|length| length > limit) {
        return Err(RepositoryError::TooLong { path: url.to_owned(), limit });
    }
    Ok((Box::new(Patient::new(answer)), length))
}

impl Repository {
    /// A repository by its address or directory.
    ///
    /// # Errors
    /// It is neither.
    pub fn open(address: &str) -> Result<Self, RepositoryError> {
        if address.starts_with("http://") || address.starts_with("https://") {
            let client = client()?;
            return Ok(Self::Http { base: address.trim_end_matches('/').to_owned(), client });
        }
        let dir = PathBuf::from(address.strip_prefix("file://").unwrap_or(address));
        if dir.is_dir() {
            return Ok(Self::Directory(dir));
        }
        Err(RepositoryError::Address(address.to_owned()))
    }

    /// A file's bytes as a stream that ends in an error beyond `limit`; `None` where there is no such file.
    ///
    /// # Errors
    /// It cannot be fetched.
    pub fn stream(&self, path: &str, limit: u64) -> Result<Option<Box<dyn Read>>, RepositoryError> {
        let failed = |what: String| RepositoryError::Fetch { path: path.to_owned(), what };
        let too_long = || RepositoryError::TooLong { path: path.to_owned(), limit };
        match self {
            Self::Directory(dir) => match crate::files::open_regular(&dir.join(path), 0) {
                Ok(file) => {
                    let length = file.metadata().map_err(|e| failed(e.to_string()))?.len();
                    if length > limit { Err(too_long()) } else { Ok(Some(Box::new(file))) }
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(failed(e.to_string())),
            },
            Self::Http { base, client } => {
                match get(client, &format!("{base}/{path}"), None, limit) {
                    Ok((stream, _)) => Ok(Some(stream)),
                    Err(RepositoryError::Gone(_)) => Ok(None),
                    Err(RepositoryError::Fetch { what, .. }) => Err(failed(what)),
                    Err(RepositoryError::TooLong { .. }) => Err(too_long()),
                    Err(other) => Err(other),
                }
            }
        }
    }

    /// A whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Repository::stream`], or it is longer.
    pub fn bytes(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, RepositoryError> {
        let Some(stream) = self.stream(path, limit)? else { return Ok(None) };
        let mut bytes = Vec::new();
        stream
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| RepositoryError::Fetch { path: path.to_owned(), what: e.to_string() })?;
        if bytes.len() as u64 > limit {
            return Err(RepositoryError::TooLong { path: path.to_owned(), limit });
        }
        Ok(Some(bytes))
    }
}

impl Source for Repository {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.bytes(path, max_bytes).map_err(|error| match error {
            // The law names the path itself.
            RepositoryError::Fetch { what, .. } => io::Error::other(what).into(),
            _ => SourceError::permanent(error),
        })
    }
}

/// An HTTP error with its cause, without the address that it repeats.
fn told(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
