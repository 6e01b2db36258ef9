//! The lock files and lists that a recipe names: read from the source or from an input beside it, checked against the lock,
//! fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use countersign_metadata::Sha256;
use countersign_metadata::release::Input;

use super::crates::{self, CrateId};
use super::npm::{self, NpmId, Sha512};
use super::pypi::{self, PypiId, Python, requirements};
use super::url;
use super::wanted::{Pin, Wanted};
use super::{InputError, Inputs};
use crate::Inside;
use crate::recipe::{InputSpec, RecipeSpec};
use crate::source::{self, SourceTar};

/// Longest lock file of a language, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// All that a recipe's lists and its `[inputs]` ask for.
#[derive(Debug, Default)]
pub struct Lists {
    crates: Vec<(Vec<u8>, BTreeMap<CrateId, Sha256>)>,
    npm: BTreeMap<NpmId, Sha512>,
    pypi: BTreeMap<PypiId, BTreeSet<Sha256>>,
}

/// Where a recipe's lists are read from.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The recipe's directory.
    pub dir: &'a Path,
    /// The source, where it is not that directory.
    pub source: Option<&'a SourceTar>,
    /// Inputs of the recipe that are at hand, by their paths in the source.
    pub further: &'a BTreeMap<Inside, Input>,
    /// Their store.
    pub inputs: &'a Inputs,
}

impl Place<'_> {
    fn read(&self, path: &Inside) -> Result<Vec<u8>, InputError> {
        let at = match (self.further.get(path), self.source) {
            (Some(input), _) => self.inputs.get(input)?,
            (None, None) => path.below(self.dir),
            (None, Some(tar)) => {
                let name = path.to_string();
                let what = |what: String| InputError::Unsupported { name: name.clone(), what };
                return source::read(tar, path, MAX_LIST)
                    .map_err(|e| what(e.to_string()))?
                    .ok_or_else(|| what("the source has no such file".to_owned()));
            }
        };
        crate::files::read_limited(&at, MAX_LIST).map_err(|e| InputError::io(&at, e))
    }
}

impl Lists {
    /// Reads all lists of a recipe.
    ///
    /// # Errors
    /// One is not there, or is not what it should be.
    pub fn read(spec: &RecipeSpec, place: Place<'_>) -> Result<Self, InputError> {
        let mut this = Self::default();
        let conflict = |name: String| InputError::Unsupported {
            name,
            what: "two lock files pin it differently".to_owned(),
        };
        for path in &spec.build.cargo_lock {
            let bytes = place.read(path)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            this.crates.push((bytes, crates::parse_cargo_lock(&text, path.as_str())?));
        }
        for path in &spec.build.package_lock {
            for (id, sha512) in npm::parse_lock(&place.read(path)?, path.as_str())? {
                let name = id.input_name();
                if this.npm.insert(id, sha512.clone()).is_some_and(|other| other != sha512) {
                    return Err(conflict(name));
                }
            }
        }
        for path in &spec.build.requirements {
            let text = String::from_utf8_lossy(&place.read(path)?).into_owned();
            for (id, digests) in requirements::parse(&text, path.as_str())? {
                this.pypi.entry(id).or_default().extend(digests);
            }
        }
        Ok(this)
    }

    /// What they ask for.
    pub fn wanted(&self) -> Vec<Wanted> {
        let crates = self.crates.iter().flat_map(|(_, crates)| crates);
        let mut all: Vec<Wanted> =
            crates.map(|(id, sha256)| Wanted::exactly(id.input_name(), *sha256)).collect();
        all.extend(self.npm.iter().map(|(id, sha512)| Wanted {
            name: id.input_name(),
            pin: Pin::Sha512(Box::new(sha512.clone())),
        }));
        all.extend(
            self.pypi
                .iter()
                .map(|(id, digests)| Wanted { name: id.name(), pin: Pin::OneOf(digests.clone()) }),
        );
        all
    }

    /// Has all of it at hand; what was `locked` before is taken as it was locked.
    ///
    /// # Errors
    /// Something cannot be had.
    pub fn fetch(
        &self,
        inputs: &Inputs,
        locked: &[Input],
        python: &Python,
        now: &dyn Fn(&str),
    ) -> Result<Vec<Input>, InputError> {
        let mut found = Vec::new();
        for (bytes, crates) in &self.crates {
            now(&format!("fetching {} crates", crates.len()));
            found.extend(crates::fetch(inputs, Some(bytes), crates)?);
        }
        let digests: BTreeMap<String, Sha256> =
            locked.iter().map(|input| (input.name.clone(), input.blob.sha256)).collect();
        found.extend(npm::fetch(inputs, &self.npm, &digests, now)?);
        found.extend(pypi::fetch(inputs, &self.pypi, locked, python, now)?);
        Ok(found)
    }
}

/// The name that an entry of `[inputs]` has as a locked input, or begins with.
pub fn name_of(input: &InputSpec) -> String {
    match (&input.url, &input.package, &input.file) {
        (Some(url), ..) => url.clone(),
        (_, Some(package), _) => package.to_string(),
        (_, _, Some(file)) => format!("file:{file}"),
        (None, None, None) => String::new(),
    }
}

/// Has the recipe's `[inputs]` at hand, by their paths in the source; what was `locked` before is taken as it was locked,
/// but files beside the recipe are taken as they are.
///
/// # Errors
/// One cannot be had.
pub fn further(
    spec: &RecipeSpec,
    dir: &Path,
    inputs: &Inputs,
    locked: &[Input],
    now: &dyn Fn(&str),
) -> Result<BTreeMap<Inside, Input>, InputError> {
    let mut found = BTreeMap::new();
    for (path, entry) in &spec.inputs {
        let input = match entry {
            InputSpec { url: Some(url), sha256: Some(sha256), .. } => {
                url::fetch(inputs, url, sha256, now)?
            }
            InputSpec { package: Some(package), sha256, .. } => {
                let wanted = package.wanted(sha256.as_ref());
                let locked = locked.iter().find(|input| wanted.is_called(&input.name));
                match locked {
                    Some(input) if inputs.find(&input.name, &input.blob.sha256)?.is_some() => {
                        input.clone()
                    }
                    locked => {
                        let digest = locked.map(|input| &input.blob.sha256).or(sha256.as_ref());
                        package.fetch(inputs, digest, now)?
                    }
                }
            }
            InputSpec { file: Some(file), .. } => {
                let at = file.below(dir);
                let reader =
                    crate::files::open_regular(&at, 0).map_err(|e| InputError::io(&at, e))?;
                Input { name: name_of(entry), blob: inputs.add(reader)?.1 }
            }
            _ => continue,
        };
        found.insert(path.clone(), input);
    }
    Ok(found)
}

/// What the recipe's `[inputs]` ask for, with the files beside the recipe as they are now.
pub fn further_wanted(spec: &RecipeSpec, now: &BTreeMap<Inside, Input>) -> Vec<Wanted> {
    let wanted = |(path, entry): (&Inside, &InputSpec)| match (&entry.package, &entry.sha256) {
        (Some(package), sha256) => Some(package.wanted(sha256.as_ref())),
        (None, Some(sha256)) => Some(Wanted::exactly(name_of(entry), *sha256)),
        (None, None) => now.get(path).map(|input| Wanted::exactly(&input.name, input.blob.sha256)),
    };
    spec.inputs.iter().filter_map(wanted).collect()
}
