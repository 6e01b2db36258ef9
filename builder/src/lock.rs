//! `countersign.lock`: what was resolved, by digest. Only what is locked can be built.
//!
//! ```toml
//! format = 1
//! recipe = "DIGEST of countersign.toml"
//!
//! [environment]
//! kind = "host"
//! sha256 = "DIGEST"
//! parts = ["binutils=2.40-2", "rust=1.95.0 (59807616e 2026-04-14)"]   # for people
//!
//! [source]                      # not for a directory: its digest is taken when it is built
//! sha256 = "DIGEST of the canonical source tar"
//! length = 1
//!
//! [[input]]
//! name = "crates:serde@1.0.0"
//! sha256 = "DIGEST"
//! length = 1
//! ```

use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::release::{Blob, Environment, EnvironmentKind, Input};
use serde::{Deserialize, Serialize};

use crate::inputs::wanted::{Pin, Wanted};
use crate::recipe::Recipe;

/// The lock's file name.
pub const FILE: &str = "countersign.lock";
/// Longest lock, in bytes.
pub const MAX_LENGTH: u64 = 8 << 20;
/// The format that this code writes and reads.
const FORMAT: u32 = 1;
const PREFACE: &str = "# Written by `countersign-builder lock`. Commit it; do not edit it.\n";

/// A lock, with the digest of its exact bytes.
#[derive(Clone, Debug)]
pub struct Lock {
    /// What it says.
    pub spec: LockSpec,
    bytes: Vec<u8>,
    sha256: Sha256,
}

/// What a lock says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockSpec {
    /// 1.
    pub format: u32,
    /// Of the recipe's exact bytes.
    pub recipe: Sha256,
    /// What it is built with.
    pub environment: LockedEnvironment,
    /// The canonical source tar, where the source is no directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Blob>,
    /// Everything that is fetched beforehand, sorted by name.
    #[serde(default, rename = "input", skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
}

/// A locked environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedEnvironment {
    /// What kind of environment.
    pub kind: EnvironmentKind,
    /// Digest over everything in it.
    pub sha256: Sha256,
    /// `NAME=VERSION` of what it was gathered from.
    #[serde(default)]
    pub parts: Vec<String>,
}

impl LockedEnvironment {
    /// As it stands in a release.
    pub fn identity(&self) -> Environment {
        Environment { kind: self.kind, sha256: self.sha256 }
    }
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is none.
    #[error("there is no lock {0}")]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("cannot read or write {path}")]
    Io {
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a lock must be.
    #[error("{file} is no lock: {what}")]
    Malformed {
        /// The lock.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// What it says is no longer so.
    #[error("the lock is stale: {entry} {what}")]
    Stale {
        /// The entry.
        entry: String,
        /// What has become of it.
        what: String,
    },
}

impl LockError {
    /// A stale entry, by name.
    pub fn stale(entry: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Stale { entry: entry.into(), what: what.into() }
    }
}

impl Lock {
    /// Writes down what was resolved for a recipe.
    ///
    /// # Errors
    /// Never for values that TOML can hold.
    pub fn new(
        recipe: &Recipe,
        environment: LockedEnvironment,
        source: Option<Blob>,
        mut inputs: Vec<Input>,
    ) -> Result<Self, LockError> {
        inputs.sort_by(|a, b| a.name.cmp(&b.name));
        inputs.dedup();
        let spec =
            LockSpec { format: FORMAT, recipe: *recipe.sha256(), environment, source, inputs };
        let text = toml::to_string_pretty(&spec)
            .map_err(|e| LockError::Malformed { file: FILE.to_owned(), what: e.to_string() })?;
        Self::parse(format!("{PREFACE}\n{text}").into_bytes(), FILE)
    }

    /// Reads `DIR/countersign.lock`.
    ///
    /// # Errors
    /// It is missing, unreadable or malformed.
    pub fn read(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(FILE);
        match crate::files::read_limited(&path, MAX_LENGTH) {
            Ok(bytes) => Self::parse(bytes, &path.display().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(LockError::Missing(path)),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// Parses a lock. `file` is what errors call it.
    ///
    /// # Errors
    /// It is malformed, or of another format.
    pub fn parse(bytes: Vec<u8>, file: &str) -> Result<Self, LockError> {
        let malformed = |what: String| LockError::Malformed { file: file.to_owned(), what };
        let text = std::str::from_utf8(&bytes).map_err(|e| malformed(e.to_string()))?;
        let spec: LockSpec = toml::from_str(text).map_err(|e| malformed(e.to_string()))?;
        if spec.format != FORMAT {
            return Err(malformed(format!("format {} is not known ({FORMAT} is)", spec.format)));
        }
        if let Some(pair) = spec.inputs.windows(2).find(|pair| pair[0].name >= pair[1].name) {
            return Err(malformed(format!("input {:?} is out of order", pair[1].name)));
        }
        Ok(Self { sha256: Sha256::of(text.as_bytes()), spec, bytes })
    }

    /// Writes `DIR/countersign.lock`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, LockError> {
        let path = dir.join(FILE);
        crate::files::write_durably(&path, &self.bytes)
            .map_err(|source| LockError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// Its exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of its exact bytes.
    pub fn sha256(&self) -> &Sha256 {
        &self.sha256
    }

    /// Checks that this is the lock of this recipe.
    ///
    /// # Errors
    /// The recipe has changed since.
    pub fn check_recipe(&self, recipe: &Recipe) -> Result<(), LockError> {
        if self.spec.recipe == *recipe.sha256() {
            return Ok(());
        }
        Err(LockError::stale("recipe", "has changed since (countersign.toml)"))
    }

    /// Checks that exactly the `wanted` inputs are locked, as far as their entries tell.
    ///
    /// # Errors
    /// Names the first entry that is missing, changed or no longer used.
    pub fn check_inputs(&self, wanted: &[Wanted]) -> Result<(), LockError> {
        for wanted in wanted {
            let mut called =
                self.spec.inputs.iter().filter(|i| wanted.is_called(&i.name)).peekable();
            if called.peek().is_none() {
                return Err(LockError::stale(&wanted.name, "is not locked"));
            }
            if let Some(input) = called.find(|input| !wanted.allows(input)) {
                let what = match &wanted.pin {
                    Pin::Sha256(sha256) => format!("is now {}", sha256.short()),
                    _ => "is pinned by other digests now".to_owned(),
                };
                return Err(LockError::stale(&input.name, what));
            }
        }
        let is_used = |input: &Input| wanted.iter().any(|wanted| wanted.is_called(&input.name));
        match self.spec.inputs.iter().find(|input| !is_used(input)) {
            Some(input) => Err(LockError::stale(&input.name, "is no longer used")),
            None => Ok(()),
        }
    }

    /// Checks that the environment at hand is the locked one.
    ///
    /// # Errors
    /// Names the parts that differ.
    pub fn check_environment(
        &self,
        found: &Environment,
        parts: &[String],
    ) -> Result<(), LockError> {
        if self.spec.environment.identity() == *found {
            return Ok(());
        }
        let changes = difference(&self.spec.environment.parts, parts);
        Err(LockError::stale("environment", format!("is another one here ({changes})")))
    }
}

/// Says which parts differ between what was locked and what is here.
pub fn difference(locked: &[String], here: &[String]) -> String {
    let gone = locked.iter().filter(|part| !here.contains(part)).map(|part| format!("-{part}"));
    let new = here.iter().filter(|part| !locked.contains(part)).map(|part| format!("+{part}"));
    let changes: Vec<String> = gone.chain(new).collect();
    match changes.len() {
        0 => "the same packages with other files".to_owned(),
        n if n > 6 => format!("{} and {} more", changes[..6].join(", "), n - 6),
        _ => changes.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let recipe = br#"
product = "thing"
version = "1.0.0"
source = { kind = "directory" }
environment = { kind = "host" }
build = { steps = ["true"] }
outputs = { a = "a" }
"#;
        let recipe = Recipe::parse(recipe.to_vec(), "r").unwrap();
        let environment = LockedEnvironment {
            kind: EnvironmentKind::Host,
            sha256: Sha256::of(b"env"),
            parts: vec!["gcc=1".to_owned()],
        };
        let blob = |bytes| Blob { sha256: Sha256::of(bytes), length: 1 };
        let inputs = vec![
            Input { name: "crates:b@1.0.0".to_owned(), blob: blob(b"b") },
            Input { name: "crates:a@1.0.0".to_owned(), blob: blob(b"a") },
        ];
        Lock::new(&recipe, environment, None, inputs).unwrap()
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let lock = lock();
        let again = Lock::parse(lock.bytes().to_vec(), "x").unwrap();
        assert_eq!((again.sha256(), &again.spec), (lock.sha256(), &lock.spec));
        assert!(lock.bytes().starts_with(b"# Written by"));
    }

    #[test]
    fn a_stale_entry_is_named() {
        let lock = lock();
        let wanted = |entries: &[(&str, &[u8])]| -> Vec<Wanted> {
            entries.iter().map(|(n, b)| Wanted::exactly(*n, Sha256::of(b))).collect()
        };
        let entry = |name: &'static str, bytes: &'static [u8]| (name, bytes);
        let (a, b) = (entry("crates:a@1.0.0", b"a"), entry("crates:b@1.0.0", b"b"));
        assert!(lock.check_inputs(&wanted(&[a, b])).is_ok());
        for (entries, named) in [
            (vec![a, b, entry("crates:c@1.0.0", b"c")], "crates:c@1.0.0 is not locked"),
            (vec![a], "crates:b@1.0.0 is no longer used"),
            (vec![a, entry("crates:b@1.0.0", b"other")], "crates:b@1.0.0 is now"),
        ] {
            let error = lock.check_inputs(&wanted(&entries)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let other = Environment { kind: EnvironmentKind::Host, sha256: Sha256::of(b"other") };
        let error = lock.check_environment(&other, &["gcc=2".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("-gcc=1, +gcc=2"), "{error}");
    }
}
