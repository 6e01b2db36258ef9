//! Where a repository is, and the way to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

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

/// The way to mirrors that are not on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// Straight, whatever the environment says.
    Direct,
    /// Through this one, whatever the environment says.
    Through(Url),
}

/// A text that is not the address of a proxy.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no proxy: {reason}")]
pub struct BadProxy {
    text: String,
    reason: &'static str,
}

impl FromStr for Proxy {
    type Err = BadProxy;

    fn from_str(text: &str) -> Result<Self, BadProxy> {
        // A password must not be told again by the error either.
        let bad =
            |shown: &str, reason| BadProxy { text: shown.chars().take(200).collect(), reason };
        match text {
            "none" => return Ok(Self::Direct),
            "environment" => return Ok(Self::Environment),
            _ => {}
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(Url::has_host);
        let url = url.ok_or_else(|| {
            bad(text, "http://HOST:PORT, https://HOST:PORT, none, or environment")
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            let host = url.host_str().unwrap_or_default();
            return Err(bad(
                host,
                "a password belongs in HTTPS_PROXY of the environment, not here",
            ));
        }
        Ok(Self::Through(url))
    }
}
