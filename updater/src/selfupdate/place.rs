//! `NODE/updater/`: which program is named, which one was before, which one is still to prove itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use countersign_metadata::{Sha256, Version};
use serde::{Deserialize, Serialize};

use super::launch::Role;
use crate::Home;
use crate::durable::{self, DiskError, OnDisk};

/// The directory of the updater's own programs in a node directory.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
}

/// A program that was named and has not proved itself yet. Older and newer programs read this: nothing is ever taken
/// away from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attempt {
    /// What `current` named before; `None`: nothing, the program that the service starts ran itself.
    pub from: Option<PathBuf>,
    /// What it is to name.
    pub to: PathBuf,
    /// The release of that program.
    pub artifact: Sha256,
    /// Its version.
    pub version: Version,
    /// How often it was started as the agent.
    #[serde(default)]
    pub run: u32,
    /// How often it was started as the supervisor.
    #[serde(default)]
    pub supervise: u32,
}

impl Attempt {
    pub(super) fn starts(&mut self, role: Role) -> &mut u32 {
        match role {
            Role::Run => &mut self.run,
            Role::Supervise => &mut self.supervise,
        }
    }
}

const MAX_FILE: u64 = 1 << 20;

impl Place {
    /// The place in a node directory, whether it is there or not.
    pub fn of(home: &Home) -> Self {
        Self { dir: home.path().join("updater") }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `current` names, as written.
    pub fn named(&self) -> Option<PathBuf> {
        fs::read_link(self.dir.join("current")).ok()
    }

    /// The file of the program that should run; `None`: the one that the service starts.
    pub fn program(&self) -> Option<PathBuf> {
        let program = fs::canonicalize(self.dir.join("current")).ok()?;
        program.is_file().then_some(program)
    }

    /// The version of the program that `current` names, as its release was signed.
    pub fn version(&self) -> Option<(Sha256, Version)> {
        let named = self.named()?;
        let artifact = named.strip_prefix("store").ok()?.iter().next()?.to_str()?.to_owned();
        let file = self.dir.join("store").join(&artifact).join("release.json");
        let bytes = durable::read(&file, MAX_FILE).ok()??;
        let release: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        Some((artifact.parse().ok()?, release.get("version")?.as_str()?.parse().ok()?))
    }

    /// The attempt under way. One that cannot be read is none: it is written durably and whole.
    ///
    /// # Errors
    /// The disk fails.
    pub fn attempt(&self) -> Result<Option<Attempt>, DiskError> {
        let bytes = durable::read(&self.dir.join("attempt.json"), MAX_FILE)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Notes an attempt, or how often its program was started.
    ///
    /// # Errors
    /// The disk fails.
    pub fn note(&self, attempt: &Attempt) -> Result<(), DiskError> {
        self.write("attempt.json", attempt)
    }

    /// The commit point: one rename of `current`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn point_to(&self, program: &Path) -> Result<(), DiskError> {
        durable::replace_link(&self.dir.join("current"), program)
    }

    /// The attempt is over: its program proved itself, or it is not named any more.
    ///
    /// # Errors
    /// The disk fails.
    pub fn settle(&self) -> Result<(), DiskError> {
        remove(&self.dir.join("attempt.json"))
    }

    /// Names what was named before the attempt, for good. Doing it again after a crash leads to the same place.
    ///
    /// # Errors
    /// The disk fails.
    pub fn put_back(&self, attempt: &Attempt, reason: &str) -> Result<(), DiskError> {
        self.condemn(attempt.artifact, &format!("version {}: {reason}", attempt.version))?;
        match &attempt.from {
            Some(from) => self.point_to(from)?,
            None => remove(&self.dir.join("current"))?,
        }
        self.settle()
    }

    /// Programs that are never tried again, each with the reason.
    pub fn bad(&self) -> BTreeMap<Sha256, String> {
        let bytes = durable::read(&self.dir.join("bad.json"), MAX_FILE).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Never tries this one again.
    ///
    /// # Errors
    /// The disk fails.
    pub fn condemn(&self, artifact: Sha256, reason: &str) -> Result<(), DiskError> {
        let mut bad = self.bad();
        bad.entry(artifact).or_insert_with(|| reason.to_owned());
        self.write("bad.json", &bad)
    }

    /// Reads a small file of this place; one that is damaged is as good as none.
    pub(super) fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        let bytes = durable::read(&self.dir.join(name), MAX_FILE).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), DiskError> {
        let path = self.dir.join(name);
        let bytes = serde_json::to_vec(value)
            .map_err(|error| DiskError::new("write", &path, error.into()))?;
        durable::write(&path, &bytes)
    }
}

fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Ok(()) => durable::sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).on_disk("remove", path),
    }
}
