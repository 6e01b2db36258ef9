//! What a recipe, a lock file or a list of requirements asks for now: names, and how each is pinned.

use std::collections::BTreeSet;
use std::path::Path;

use countersign_metadata::Sha256;
use countersign_metadata::release::Input;

use super::InputError;
use super::npm::Sha512;

/// An input that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The locked input's name; for [`Pin::OneOf`] and [`Pin::Whatever`] what it begins with.
    pub name: String,
    /// What it must be.
    pub pin: Pin,
}

/// What an input must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// These bytes.
    Sha256(Sha256),
    /// These bytes, by npm's digest.
    Sha512(Box<Sha512>),
    /// At least one, each of them one of these.
    OneOf(BTreeSet<Sha256>),
    /// What was locked: a version that its registry gives one meaning only.
    Whatever,
}

impl Wanted {
    /// Pinned by SHA-256.
    pub fn exactly(name: impl Into<String>, sha256: Sha256) -> Self {
        Self { name: name.into(), pin: Pin::Sha256(sha256) }
    }

    /// Whether a locked input goes by this name.
    pub fn is_called(&self, name: &str) -> bool {
        match self.pin {
            Pin::Sha256(_) | Pin::Sha512(_) => name == self.name,
            Pin::OneOf(_) | Pin::Whatever => {
                name.strip_prefix(&self.name).is_some_and(|r| r.is_empty() || r.starts_with('/'))
            }
        }
    }

    /// Whether a locked input is what it must be, as far as its entry tells.
    pub fn allows(&self, input: &Input) -> bool {
        match &self.pin {
            Pin::Sha256(sha256) => input.blob.sha256 == *sha256,
            Pin::OneOf(digests) => digests.contains(&input.blob.sha256),
            Pin::Sha512(_) | Pin::Whatever => true,
        }
    }

    /// Whether a locked input's file is what it must be, where only its bytes tell.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn holds(&self, file: &Path) -> Result<bool, InputError> {
        match &self.pin {
            Pin::Sha512(sha512) => Ok(Sha512::of_file(file)? == **sha512),
            _ => Ok(true),
        }
    }
}
