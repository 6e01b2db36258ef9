//! npm packages by `package-lock.json`: `npm:NAME@VERSION`. Where they come from is npm's own configuration: `npm pack`
//! downloads them, without running anything of theirs, and what comes must have the SHA-512 that the lock file pins.

pub mod cache;
mod lock_file;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_metadata::Sha256;
use countersign_metadata::release::Input;

use super::debian::last_lines;
use super::{InputError, Inputs};

pub use lock_file::parse as parse_lock;

/// How many packages one run of npm is asked for.
const AT_ONCE: usize = 40;

/// One version of an npm package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NpmId {
    name: String,
    version: String,
}

impl NpmId {
    /// A package by its parts; `None` where one of them is none.
    pub fn new(name: &str, version: &str) -> Option<Self> {
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= 214
                && !text.starts_with(['.', '-', '_'])
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
        };
        let good_name = match name.strip_prefix('@').map(|rest| rest.split_once('/')) {
            None => plain(name),
            Some(Some((scope, name))) => plain(scope) && plain(name),
            Some(None) => false,
        };
        // A full version, never a range or a tag, which would mean something else tomorrow.
        let good_version = version.len() <= 128
            && version.starts_with(|c: char| c.is_ascii_digit())
            && version.split(['-', '+']).next().is_some_and(|core| core.split('.').count() == 3)
            && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.+".contains(&b));
        (good_name && good_version)
            .then(|| Self { name: name.to_owned(), version: version.to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its name as a locked input.
    pub fn input_name(&self) -> String {
        format!("npm:{}", self.spec())
    }

    /// From the name of a locked input.
    pub fn from_input_name(name: &str) -> Option<Self> {
        let (name, version) = name.strip_prefix("npm:")?.rsplit_once('@')?;
        Self::new(name, version)
    }

    fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// A SHA-512, as npm writes it: `sha512-BASE64`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sha512([u8; 64]);

impl Sha512 {
    /// The SHA-512 in an `integrity` field, which may hold weaker ones beside it.
    pub fn from_integrity(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let word = word.strip_prefix("sha512-")?;
            let word = word.split('?').next().unwrap_or(word);
            STANDARD.decode(word).ok()?.try_into().ok().map(Self)
        })
    }

    /// Of a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, InputError> {
        let failed = |e| InputError::io(path, e);
        let mut file = crate::files::open_no_link(path).map_err(failed)?;
        let mut context = digest::Context::new(&digest::SHA512);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                n => context.update(&buffer[..n]),
            }
        }
        let mut bytes = [0; 64];
        bytes.copy_from_slice(context.finish().as_ref());
        Ok(Self(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha512-{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Has all these packages at hand: those that `locked` names from the store, the others from the registry.
///
/// # Errors
/// One cannot be had, or is not what the lock file pins.
pub fn fetch(
    inputs: &Inputs,
    packages: &BTreeMap<NpmId, Sha512>,
    locked: &BTreeMap<String, Sha256>,
    now: &dyn Fn(&str),
) -> Result<Vec<Input>, InputError> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for id in packages.keys() {
        let name = id.input_name();
        let kept = match locked.get(&name) {
            Some(sha256) => inputs.at_hand(&name, sha256)?,
            None => None,
        };
        match kept {
            Some(blob) => found.push(Input { name, blob }),
            None => missing.push(id),
        }
    }
    for (number, some) in missing.chunks(AT_ONCE).enumerate() {
        let done = number * AT_ONCE;
        now(&format!("fetching npm packages: {done} of {}", missing.len()));
        let dir = inputs.scratch()?;
        pack(some, dir.path())?;
        let mut by_digest = BTreeMap::new();
        for path in tarballs(dir.path())? {
            by_digest.insert(Sha512::of_file(&path)?, path);
        }
        for id in some {
            let name = id.input_name();
            let pinned = &packages[*id];
            let path = by_digest.get(pinned).ok_or_else(|| InputError::Wrong {
                name: name.clone(),
                what: format!("its registry has none with {pinned}"),
            })?;
            let file = crate::files::open_no_link(path).map_err(|e| InputError::io(path, e))?;
            found.push(Input { name, blob: inputs.add(file)?.1 });
        }
    }
    Ok(found)
}

/// Has one package at hand, as its registry has it.
///
/// # Errors
/// It cannot be had, or is something else.
pub fn fetch_one(
    inputs: &Inputs,
    id: &NpmId,
    sha256: Option<&Sha256>,
) -> Result<Input, InputError> {
    let name = id.input_name();
    if let Some(sha256) = sha256
        && let Some(blob) = inputs.at_hand(&name, sha256)?
    {
        return Ok(Input { name, blob });
    }
    let dir = inputs.scratch()?;
    pack(&[id], dir.path())?;
    let [path] = &tarballs(dir.path())?[..] else {
        return Err(failed(&name, "it left no single archive".to_owned()));
    };
    let file = crate::files::open_no_link(path).map_err(|e| InputError::io(path, e))?;
    let (_, blob) = inputs.add(file)?;
    match sha256 {
        Some(sha256) if blob.sha256 != *sha256 => {
            let what = format!("{:?} came instead of {sha256:?}", blob.sha256);
            Err(InputError::Wrong { name, what })
        }
        _ => Ok(Input { name, blob }),
    }
}

/// In a directory of its own, where no project's `.npmrc` names anything for npm to run.
fn pack(ids: &[&NpmId], dir: &Path) -> Result<(), InputError> {
    let specs: Vec<String> = ids.iter().map(|id| id.spec()).collect();
    let name = ids.first().map(|id| id.input_name()).unwrap_or_default();
    let output = crate::client::output(
        Command::new("npm")
            .args(["pack", "--ignore-scripts", "--silent", "--pack-destination", "."])
            .args(["--no-update-notifier", "--no-audit", "--no-fund", "--"])
            .args(&specs)
            .current_dir(dir),
    )
    .map_err(|e| failed(&name, format!("it cannot be run: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let mut said = output.stderr;
    said.extend_from_slice(&output.stdout);
    let said = match last_lines(&said) {
        said if said.is_empty() => "it found no such version".to_owned(),
        said => said,
    };
    Err(failed(&name, said))
}

fn tarballs(dir: &Path) -> Result<Vec<PathBuf>, InputError> {
    let failed = |e| InputError::io(dir, e);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "tgz") {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn failed(name: &str, what: String) -> InputError {
    InputError::Client { client: "npm", name: name.to_owned(), what }
}
