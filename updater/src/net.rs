//! The way to the repository: HTTP, HTTPS and directories, with a limit on everything that is read.
//!
//! Nothing that comes through here is believed. Why not an async client? An agent that must be right is easier
//! to prove without a runtime of its own; one mirror is asked at a time anyway.

mod address;
mod error;
mod web;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;

pub use address::{BadProxy, BadRepository, Proxy, Repository};
pub use error::NetError;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// A connection.
    pub(crate) connect: Duration,
    /// The first byte of an answer, and each pause in it.
    pub(crate) idle: Duration,
    /// One file, plus a second for every [`SLOWEST`] bytes of its limit. The time in which nobody reads does not count.
    pub(crate) total: Duration,
    /// In so much waiting at least [`TRICKLE`] bytes a second must have come; `None`: any trickle will do.
    pub(crate) trickle: Option<Duration>,
}

/// As long as a mirror of today needs.
pub(crate) const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    idle: Duration::from_secs(20),
    total: Duration::from_mins(1),
    trickle: Some(Duration::from_secs(30)),
};
/// Bytes a second below which a mirror is of no use in the long run.
const SLOWEST: u64 = 16 << 10;
/// Bytes a second below which another mirror is asked at once.
const TRICKLE: u64 = 4 << 10;

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
    etag: Option<String>,
    passed: u64,
    max: u64,
    patience: Patience,
    waited: Duration,
    /// Waiting and bytes since the trickle was last looked at.
    lately: (Duration, u64),
}

impl Mirror {
    /// Gets ready to ask `repository`. Nothing is sent yet.
    ///
    /// # Errors
    /// The machine has no usable TLS.
    pub fn new(repository: &Repository) -> Result<Self, NetError> {
        Self::by(repository, &Proxy::Environment)
    }

    /// As [`Mirror::new`], by the way that the operator wants.
    ///
    /// # Errors
    /// As [`Mirror::new`].
    pub fn by(repository: &Repository, proxy: &Proxy) -> Result<Self, NetError> {
        Self::with_patience(repository, proxy, PATIENCE)
    }

    /// The same mirror, however slow it is.
    #[must_use]
    pub(crate) fn patient(mut self) -> Self {
        self.patience.trickle = None;
        self
    }

    pub(crate) fn with_patience(
        repository: &Repository,
        proxy: &Proxy,
        patience: Patience,
    ) -> Result<Self, NetError> {
        let client = match repository {
            Repository::Directory(_) => None,
            Repository::Web(url) => Some(web::client(url, proxy, patience).map_err(|error| {
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
        let Some(mut body) = self.open(path, 0, None, max)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            match body.next(&mut buffer)? {
                0 => return Ok(Some(bytes)),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Opens a file of at most `max` bytes in all, from byte `from` if the mirror can and the file still has the `etag`
    /// of the bytes before (else from its beginning: see [`Body::starts_at`]).
    ///
    /// # Errors
    /// As [`Mirror::get`].
    pub fn open(
        &self,
        path: &str,
        from: u64,
        etag: Option<&str>,
        max: u64,
    ) -> Result<Option<Body>, NetError> {
        let segments = path.split('/').map(|s| decoded(s).filter(|d| is_name(s) && is_name(d)));
        let segments: Option<Vec<_>> = segments.collect();
        let segments = segments.ok_or_else(|| NetError::BadPath(path.to_owned()))?;
        let url = self.repository.address(path);
        let opened = match (&self.repository, &self.client) {
            (Repository::Web(base), Some(client)) => {
                web::ask(client, base, &segments, (from, etag))?
            }
            (Repository::Web(_), None) => None,
            (Repository::Directory(dir), _) => read_file(dir, path, from).map_err(|source| {
                NetError::Unreachable { url: url.clone(), source: source.into() }
            })?,
        };
        Ok(opened.map(|Opened { bytes, starts_at, etag }| Body {
            url,
            bytes,
            starts_at,
            etag,
            passed: starts_at,
            max,
            patience: self.patience,
            waited: Duration::ZERO,
            lately: (Duration::ZERO, 0),
        }))
    }
}

impl Body {
    /// The position in the file of the first byte that comes.
    pub fn starts_at(&self) -> u64 {
        self.starts_at
    }

    /// The strong `ETag` of the file, if the mirror gave one.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// The next bytes; 0 at the end.
    ///
    /// # Errors
    /// Cut off, too slow, or too long.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize, NetError> {
        if self.waited >= self.patience.total + Duration::from_secs(self.max / SLOWEST) {
            return Err(NetError::TooSlow { url: self.url.clone(), after: self.passed });
        }
        let began = Instant::now();
        let read = loop {
            match self.bytes.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let (url, after) = (self.url.clone(), self.passed);
                    return Err(NetError::CutOff { url, after, source });
                }
                Ok(read) => break read,
            }
        };
        self.passed += read as u64;
        if read > 0 {
            self.keeps_up(began.elapsed(), read as u64)?;
        }
        if self.passed > self.max {
            return Err(NetError::TooLong { url: self.url.clone(), max: self.max });
        }
        Ok(read)
    }
}

impl Body {
    /// Whether enough came of late; only time spent waiting for the mirror counts.
    fn keeps_up(&mut self, waited: Duration, read: u64) -> Result<(), NetError> {
        self.waited += waited;
        let Some(window) = self.patience.trickle else { return Ok(()) };
        self.lately = (self.lately.0 + waited, self.lately.1 + read);
        if self.lately.0 < window {
            return Ok(());
        }
        let enough = self.lately.1 as f64 >= self.lately.0.as_secs_f64() * TRICKLE as f64;
        self.lately = (Duration::ZERO, 0);
        let (url, after) = (self.url.clone(), self.passed);
        if enough { Ok(()) } else { Err(NetError::TooSlow { url, after }) }
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

struct Opened {
    bytes: Box<dyn Read + Send>,
    starts_at: u64,
    etag: Option<String>,
}

fn read_file(dir: &std::path::Path, path: &str, from: u64) -> io::Result<Option<Opened>> {
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
    file.seek(SeekFrom::Start(from))?;
    Ok(Some(Opened { bytes: Box::new(file), starts_at: from, etag: None }))
}

#[cfg(test)]
mod tests;
