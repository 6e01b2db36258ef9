//! Packages of registries, named without a host: `crates:NAME@VERSION`, `npm:NAME@VERSION`, `pypi:NAME==VERSION`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use countersign_metadata::Sha256;
use countersign_metadata::release::Input;
use serde::Deserialize;

use super::crates::{self, CrateId};
use super::npm::{self, NpmId};
use super::pypi::{self, PypiId};
use super::wanted::{Pin, Wanted};
use super::{InputError, Inputs};

/// One version of one package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Package {
    /// Of the crates registry.
    Crate(CrateId),
    /// Of the npm registry.
    Npm(NpmId),
    /// Of the Python package index: its source archive.
    Pypi(PypiId),
}

/// A text that names no package.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no package (crates:NAME@VERSION, npm:NAME@VERSION or pypi:NAME==VERSION)")]
pub struct NoPackage(String);

impl FromStr for Package {
    type Err = NoPackage;

    fn from_str(text: &str) -> Result<Self, NoPackage> {
        let no_package = || NoPackage(text.chars().take(200).collect());
        CrateId::from_input_name(text)
            .map(Self::Crate)
            .or_else(|| NpmId::from_input_name(text).map(Self::Npm))
            .or_else(|| PypiId::from_name(text).map(Self::Pypi))
            .ok_or_else(no_package)
    }
}

impl TryFrom<String> for Package {
    type Error = NoPackage;

    fn try_from(text: String) -> Result<Self, NoPackage> {
        text.parse()
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crate(id) => f.write_str(&id.input_name()),
            Self::Npm(id) => f.write_str(&id.input_name()),
            Self::Pypi(id) => f.write_str(&id.name()),
        }
    }
}

impl Package {
    /// What a recipe that names it asks for.
    pub fn wanted(&self, sha256: Option<&Sha256>) -> Wanted {
        let pin = match (self, sha256) {
            (Self::Pypi(_), Some(sha256)) => Pin::OneOf([*sha256].into()),
            (_, Some(sha256)) => Pin::Sha256(*sha256),
            (_, None) => Pin::Whatever,
        };
        Wanted { name: self.to_string(), pin }
    }

    /// Has its archive at hand: from the store where its digest is known, else from its registry.
    ///
    /// # Errors
    /// It cannot be had, or is something else.
    pub fn fetch(
        &self,
        inputs: &Inputs,
        sha256: Option<&Sha256>,
        now: &dyn Fn(&str),
    ) -> Result<Input, InputError> {
        now(&format!("fetching {self}"));
        match self {
            Self::Crate(id) => match sha256 {
                Some(sha256) => {
                    let one = BTreeMap::from([(id.clone(), *sha256)]);
                    let mut found = crates::fetch(inputs, None, &one)?;
                    found.pop().ok_or_else(|| InputError::Unsupported {
                        name: self.to_string(),
                        what: "it was not found".to_owned(),
                    })
                }
                None => crates::fetch_newly(inputs, id),
            },
            Self::Npm(id) => npm::fetch_one(inputs, id, sha256),
            Self::Pypi(id) => pypi::fetch_source(inputs, id, sha256, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_without_hosts_and_read_back_as_they_are_written() {
        for good in [
            "crates:serde@1.0.0",
            "npm:is-odd@3.0.1",
            "npm:@scope/name@1.0.0-rc.1",
            "pypi:click==8.1.7",
        ] {
            assert_eq!(good.parse::<Package>().unwrap().to_string(), good);
        }
        assert_eq!(
            "pypi:Foo_Bar==1.0".parse::<Package>().unwrap().to_string(),
            "pypi:foo-bar==1.0"
        );
        for bad in [
            "serde@1",
            "npm:--flag@1",
            "npm:a@^1.0.0",
            "npm:../a@1.0.0",
            "npm:a@https://x/y.tgz",
            "pypi:a=1",
            "pypi:-r==1",
            "pypi:a==1/../x",
            "crates:a b@1",
        ] {
            assert!(bad.parse::<Package>().is_err(), "{bad}");
        }
    }
}
