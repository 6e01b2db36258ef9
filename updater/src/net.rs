//! The way to the repository: HTTP, HTTPS and directories, with a limit on everything that is read.
//!
//! Nothing that comes through here is believed. Why not an async client? An agent that must be right is easier
//! to prove without a runtime of its own; one mirror is asked at a time anyway.

mod web;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::blocking::Client;

/// Where a repository is served: `http://`, `https://` or `file://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// A web server; the URL ends with `/`.
    Web(Url),
    /// A directory: a USB stick, a mount.
    Directory(PathBuf),
}

/// A text that is not the address of a repository.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not the address of a repository: {reason}")]
pub struct BadRepository {
    text: String,
    reason: &'static str,
}

impl FromStr for Repository {
    type Err = BadRepository;

    fn from_str(text: &str) -> Result<Self, BadRepository> {
        let bad = |reason| BadRepository { text: text.chars().take(200).collect(), reason };
        let mut url =
            Url::parse(text).map_err(|_| bad("http://HOST/…, https://HOST/… or file:///DIR"))?;
        match url.scheme() {
            "file" => url.to_file_path().map(Self::Directory).map_err(|()| bad("file:///DIR")),
            "http" | "https" => {
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(bad("a password in an address is not kept secret"));
                }
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(bad("it may not have a query or a fragment"));
                }
                if !url.path().ends_with('/') {
                    url.set_path(&format!("{}/", url.path()));
                }
                Ok(Self::Web(url))
            }
            _ => Err(bad("only http, https and file are spoken here")),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => f.write_str(url.as_str()),
            Self::Directory(path) => match Url::from_directory_path(path) {
                Ok(url) => f.write_str(url.as_str()),
                Err(()) => write!(f, "{}/", path.display()),
            },
        }
    }
}

impl Repository {
    /// The address of a file of the repository, for people and for `curl`.
    pub fn address(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

/// Why bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No connection, or no answer.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer, but not the file.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: u16,
    },
    /// More bytes than allowed: endless, or not what it should be.
    #[error("{url} is longer than the {max} bytes allowed")]
    TooLong {
        /// What was asked for.
        url: String,
        /// The limit.
        max: u64,
    },
    /// The connection ended, or stood still, midway.
    #[error("{url} was cut off after {after} bytes")]
    CutOff {
        /// What was asked for.
        url: String,
        /// Bytes that came.
        after: u64,
        /// Why.
        source: io::Error,
    },
    /// A path that leaves the repository.
    #[error("{0:?} is not a path inside a repository")]
    BadPath(String),
}

impl NetError {
    /// Whether trying again can help.
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::CutOff { .. } => true,
            Self::Status { status, .. } => matches!(status, 403 | 408 | 429 | 500..=599),
            Self::TooLong { .. } | Self::BadPath(_) => false,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// A connection.
    pub(crate) connect: Duration,
    /// The first byte of an answer, and each pause in it.
    pub(crate) idle: Duration,
    /// One file, plus a second for every [`SLOWEST`] bytes of its limit.
    pub(crate) total: Duration,
}

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    idle: Duration::from_secs(20),
    total: Duration::from_mins(1),
};
/// Bytes a second below which a mirror is of no use.
const SLOWEST: u64 = 16 << 10;

/// One mirror, ready to be asked.
pub struct Mirror {
    repository: Repository,
    client: Option<Client>,
    patience: Patience,
}

/// Bytes on their way in: at most the limit, in time, or an error.
pub struct Body {
    url: String,
    bytes: Box<dyn Read + Send>,
    starts_at: u64,
    passed: u64,
    max: u64,
    deadline: Instant,
}

impl Mirror {
    /// Gets ready to ask `repository`. Nothing is sent yet.
    ///
    /// # Errors
    /// The machine has no usable TLS.
    pub fn new(repository: &Repository) -> Result<Self, NetError> {
        Self::with_patience(repository, PATIENCE)
    }

    pub(crate) fn with_patience(
        repository: &Repository,
        patience: Patience,
    ) -> Result<Self, NetError> {
        let client = match repository {
            Repository::Directory(_) => None,
            Repository::Web(url) => Some(web::client(url, patience).map_err(|error| {
                NetError::Unreachable { url: url.to_string(), source: error.into() }
            })?),
        };
        Ok(Self { repository: repository.clone(), client, patience })
    }

    /// Which repository it serves.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// A whole file of at most `max` bytes; `None` if the mirror says that there is none. `path` is written as in an
    /// address: `%2F` is a `/` that is part of a name (a directory has it under the name as written).
    ///
    /// # Errors
    /// The mirror cannot be reached, answers something else, sends more, or stops midway.
    pub fn get(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, NetError> {
        let Some(mut body) = self.open(path, 0, max)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            match body.next(&mut buffer)? {
                0 => return Ok(Some(bytes)),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Opens a file of at most `max` bytes in all, from byte `from` if the mirror can (else from its beginning:
    /// see [`Body::starts_at`]).
    ///
    /// # Errors
    /// As [`Mirror::get`].
    pub fn open(&self, path: &str, from: u64, max: u64) -> Result<Option<Body>, NetError> {
        let segments = path.split('/').map(|s| decoded(s).filter(|d| is_name(s) && is_name(d)));
        let segments: Option<Vec<_>> = segments.collect();
        let segments = segments.ok_or_else(|| NetError::BadPath(path.to_owned()))?;
        let url = self.repository.address(path);
        let opened = match (&self.repository, &self.client) {
            (Repository::Web(base), Some(client)) => web::ask(client, base, &segments, from)?,
            (Repository::Web(_), None) => None,
            (Repository::Directory(dir), _) => read_file(dir, path, from).map_err(|source| {
                NetError::Unreachable { url: url.clone(), source: source.into() }
            })?,
        };
        Ok(opened.map(|(bytes, starts_at)| Body {
            url,
            bytes,
            starts_at,
            passed: starts_at,
            max,
            deadline: Instant::now() + self.patience.total + Duration::from_secs(max / SLOWEST),
        }))
    }
}

impl Body {
    /// The position in the file of the first byte that comes.
    pub fn starts_at(&self) -> u64 {
        self.starts_at
    }

    /// The next bytes; 0 at the end.
    ///
    /// # Errors
    /// Cut off, too slow, or too long.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize, NetError> {
        let cut = |after, source| NetError::CutOff { url: self.url.clone(), after, source };
        if Instant::now() >= self.deadline {
            let slow = io::Error::new(io::ErrorKind::TimedOut, "it came too slowly");
            return Err(cut(self.passed, slow));
        }
        let read = loop {
            match self.bytes.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cut(self.passed, error)),
                Ok(read) => break read,
            }
        };
        self.passed += read as u64;
        if self.passed > self.max {
            return Err(NetError::TooLong { url: self.url.clone(), max: self.max });
        }
        Ok(read)
    }
}

fn is_name(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && !segment.contains('\0')
}

/// A segment of a path with its `%XX` resolved, as [`layout::segment`](countersign_metadata::layout::segment) wrote them.
/// It may then hold a `/`, which stays part of the one name.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|d| !d.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

type Opened = Option<(Box<dyn Read + Send>, u64)>;

fn read_file(dir: &std::path::Path, path: &str, from: u64) -> io::Result<Opened> {
    std::fs::read_dir(dir)?;
    // A pipe in a file's place may not hold us up.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut file = match File::options().read(true).custom_flags(flags).open(dir.join(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let from = if from <= metadata.len() { from } else { 0 };
    file.seek(SeekFrom::Start(from))?;
    Ok(Some((Box::new(file), from)))
}

#[cfg(test)]
mod tests;
