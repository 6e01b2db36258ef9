//! Any URL by SHA-256. The URL is what the recipe's author wrote, and the input's name.

use std::io::Read;

use countersign_metadata::Sha256;
use countersign_metadata::release::Input;
use reqwest::Url;

use super::{InputError, Inputs, MAX_LENGTH};
use crate::http::{self, RepositoryError};

const MAX_URL: usize = 1024;
/// Progress is told whenever so much more has come, in bytes.
const TELL: u64 = 4 << 20;

/// The rule that a recipe's URL breaks, if it does.
pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    if url.len() > MAX_URL || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it is too long, or holds a space or a control character");
    }
    let parsed = Url::parse(url).map_err(|_| "it is no URL")?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err("it begins with https:// or http://");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("it holds a user or a password, which would be published with the release");
    }
    match parsed.fragment() {
        Some(_) => Err("it has a fragment (#…), which no server sees"),
        None => Ok(()),
    }
}

/// Has the file at hand: from the store, or downloaded.
///
/// # Errors
/// It cannot be had, or is something else.
pub fn fetch(
    inputs: &Inputs,
    url: &str,
    sha256: &Sha256,
    now: &dyn Fn(&str),
) -> Result<Input, InputError> {
    if let Some(blob) = inputs.at_hand(url, sha256)? {
        return Ok(Input { name: url.to_owned(), blob });
    }
    download(inputs, url, url, sha256, now)
}

/// Downloads what goes by `name` from `url`, whatever is at hand.
pub(super) fn download(
    inputs: &Inputs,
    name: &str,
    url: &str,
    sha256: &Sha256,
    now: &dyn Fn(&str),
) -> Result<Input, InputError> {
    let client = http::client().map_err(|e| failed(name, &e))?;
    let (stream, length) =
        http::get(&client, url, None, MAX_LENGTH).map_err(|e| failed(name, &e))?;
    let mut told = Told { inner: stream, name, read: 0, next: 0, length, now };
    let (file, blob) = inputs.take(&mut told).map_err(|error| match error {
        // A stream that breaks off is the server's fault, a disk that is full is not.
        InputError::Io { source, .. } if !is_own(&source) => {
            InputError::Fetch { name: name.to_owned(), what: source.to_string() }
        }
        other => other,
    })?;
    if length.is_some_and(|length| length != told.read) {
        let what = format!("it ended after {} bytes", told.read);
        return Err(InputError::Fetch { name: name.to_owned(), what });
    }
    if blob.sha256 == *sha256 {
        inputs.enter(file, sha256)?;
        return Ok(Input { name: name.to_owned(), blob });
    }
    let what = format!("{:?} came instead of {sha256:?}", blob.sha256);
    Err(InputError::Wrong { name: name.to_owned(), what })
}

fn is_own(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some()
}

fn failed(name: &str, error: &RepositoryError) -> InputError {
    let what = match error {
        RepositoryError::Fetch { what, .. } => what.clone(),
        other => other.to_string(),
    };
    InputError::Fetch { name: name.to_owned(), what }
}

/// Tells how much has come.
struct Told<'a, R> {
    inner: R,
    name: &'a str,
    read: u64,
    next: u64,
    length: Option<u64>,
    now: &'a dyn Fn(&str),
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read >= self.next {
            self.next = self.read + TELL;
            let of = self.length.map(|length| format!(" of {}", length >> 20)).unwrap_or_default();
            (self.now)(&format!("fetching {}: {}{of} MiB", self.name, self.read >> 20));
        }
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn a_url_that_is_none_or_that_tells_a_secret_is_refused() {
        for good in ["https://example.org/a-1.0.tar.gz", "http://127.0.0.1:8080/x?y=z"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "example.org/a",
            "ftp://example.org/a",
            "file:///etc/passwd",
            "https://user:secret@example.org/a",
            "https://token@example.org/a",
            "https://example.org/a#b",
            "https://example.org/a b",
            "https://",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
