//! A Sigstore instance, by its configuration file: no host is built in, the public instance is one among others.
//!
//! ```toml
//! fulcio = "https://fulcio.example"         # the certificate authority; `log` needs none
//! rekor = "https://rekor.example"           # the log
//! rekor-version = 1                         # 2: a log of tiles, which needs a timestamp authority
//! timestamp = "https://tsa.example/api/v1/timestamp"    # optional with version 1
//! trusted-root = "trusted_root.json"        # relative to this file
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use countersign_metadata::sigstore::{self, Rekor, TrustedRoot};
use countersign_metadata::trusted_root;
use reqwest::Url;
use serde::Deserialize;

/// Longest configuration, in bytes.
const MAX_FILE: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    fulcio: Option<Address>,
    rekor: Address,
    #[serde(default = "one")]
    rekor_version: u32,
    timestamp: Option<Address>,
    trusted_root: PathBuf,
}

/// As people write it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Address(Url);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|error| format!("{text:?} is no address: {error}"))
    }
}

fn one() -> u32 {
    1
}

/// A validated configuration, with the keys by which its services are believed.
pub struct Instance {
    /// The certificate authority.
    pub fulcio: Option<Url>,
    /// The log.
    pub rekor: Url,
    /// What the log speaks.
    pub speaks: Rekor,
    /// The timestamp authority; its whole address.
    pub timestamp: Option<Url>,
    /// What proves their answers.
    pub root: TrustedRoot,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// A file.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More bytes than are ever read.
    #[error("{0} is too long")]
    TooLong(PathBuf),
    /// Not TOML of that shape.
    #[error("{path} is no configuration of an instance")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where it went wrong.
        source: Box<toml::de::Error>,
    },
    /// A kind of log that is not there.
    #[error("{path}: rekor-version {version} is not spoken (1 and 2 are)")]
    OtherRekor {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u32,
    },
    /// A log that keeps no time, and nobody else who does.
    #[error("{0}: rekor-version 2 needs a timestamp authority (timestamp = …)")]
    NoTime(PathBuf),
    /// A token or a statement would travel for all to read and to change.
    #[error("{path}: {url} is neither https nor on this machine")]
    NotSecure {
        /// The file.
        path: PathBuf,
        /// The address.
        url: Url,
    },
    /// The trusted root.
    #[error("{path} cannot be used")]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sigstore::Error,
    },
}

impl Instance {
    /// Reads a configuration and the trusted root that it names.
    ///
    /// # Errors
    /// One of them cannot be read or used.
    pub fn load(path: &Path) -> Result<Self, InstanceError> {
        let text = String::from_utf8_lossy(&read(path, MAX_FILE)?).into_owned();
        let written: Written = toml::from_str(&text).map_err(|source| {
            InstanceError::Malformed { path: path.to_owned(), source: source.into() }
        })?;
        let Written { fulcio, rekor, rekor_version, timestamp, trusted_root } = written;
        let (rekor, fulcio, timestamp) = (rekor.0, fulcio.map(|f| f.0), timestamp.map(|t| t.0));
        let speaks = match rekor_version {
            1 => Rekor::V1,
            2 => Rekor::V2,
            version => return Err(InstanceError::OtherRekor { path: path.to_owned(), version }),
        };
        if speaks == Rekor::V2 && timestamp.is_none() {
            return Err(InstanceError::NoTime(path.to_owned()));
        }
        for url in [Some(&rekor), fulcio.as_ref(), timestamp.as_ref()].into_iter().flatten() {
            if !is_secure(url) {
                let (path, url) = (path.to_owned(), url.clone());
                return Err(InstanceError::NotSecure { path, url });
            }
        }
        let root_file = path.parent().unwrap_or(Path::new("")).join(trusted_root);
        let root = TrustedRoot::parse(&read(&root_file, trusted_root::MAX)?)
            .map_err(|source| InstanceError::Root { path: root_file, source })?;
        Ok(Self { fulcio, rekor, speaks, timestamp, root })
    }
}

fn is_secure(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_local(url))
}

/// Whether an address is this very machine.
pub(crate) fn is_local(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse();
        host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
    })
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, InstanceError> {
    let unreadable = |source| InstanceError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(InstanceError::TooLong(path.to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance.toml");
        std::fs::write(&path, text).unwrap();
        Instance::load(&path).err().unwrap().to_string()
    }

    #[test]
    fn a_configuration_that_gives_the_token_away_or_names_no_time_is_refused_by_name() {
        let root = "trusted-root = \"r.json\"";
        for (text, says) in [
            (format!("rekor = \"http://log.example\"\n{root}"), "neither https"),
            (format!("rekor = \"file:///log\"\n{root}"), "neither https"),
            (format!("rekor = \"https://l\"\nfulcio = \"http://10.0.0.1\"\n{root}"), "10.0.0.1"),
            (format!("rekor = \"https://l\"\nrekor-version = 2\n{root}"), "timestamp authority"),
            (format!("rekor = \"https://l\"\nrekor-version = 3\n{root}"), "rekor-version 3"),
            (format!("rekor = \"https://l\"\ncolour = 1\n{root}"), "no configuration"),
            (format!("rekor = \"http://127.0.0.1:1\"\n{root}"), "r.json"),
        ] {
            let told = load(&text);
            assert!(told.contains(says), "{text}: {told}");
        }
    }
}
