//! An OIDC identity token, from a file or an open descriptor: whoever has it can sign in its name while it is valid.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use countersign_metadata::sigstore::limit;
use zeroize::Zeroizing;

/// A token. No `Debug`, `Display` or `Clone`; cleared when dropped.
pub struct Token(Zeroizing<String>);

/// A token that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file or descriptor.
    #[error("cannot read the identity token from {from}")]
    Unreadable {
        /// Where it should be.
        from: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More bytes than are ever read.
    #[error("{0} is too long to be an identity token")]
    TooLong(PathBuf),
    /// Not text.
    #[error("{0} holds no identity token: it is not text")]
    NotText(PathBuf),
}

impl Token {
    /// From a file, such as the one that a CI system keeps up to date.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { from: path.to_owned(), source };
        Self::read(File::open(path).map_err(unreadable)?, path)
    }

    /// From a descriptor that the caller left open: `3< <(get-token)`.
    ///
    /// # Errors
    /// As [`Token::from_file`].
    pub fn from_descriptor(fd: RawFd) -> Result<Self, TokenError> {
        // The kernel's own name for it: opened like a file, so that a number that is not open is an error.
        let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
        let unreadable = |source| TokenError::Unreadable { from: path.clone(), source };
        Self::read(File::open(&path).map_err(unreadable)?, &path)
    }

    fn read(mut from: impl Read, path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { from: path.to_owned(), source };
        // Reserved beforehand: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(vec![0; limit::ANSWER as usize + 1]);
        let mut length = 0;
        loop {
            match from.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(n) => length += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        if length as u64 > limit::ANSWER {
            return Err(TokenError::TooLong(path.to_owned()));
        }
        let text = str::from_utf8(&bytes[..length]);
        let text = text.map_err(|_| TokenError::NotText(path.to_owned()))?;
        Ok(Self(Zeroizing::new(text.trim().to_owned())))
    }

    /// The token, for the one request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
