//! Python packages by hashes: `pypi:NAME==VERSION/FILE`. Which index they come from is pip's own configuration; pip itself
//! is not asked to download, as it would run a source archive's own build to learn its name.

mod choose;
mod index;
pub mod requirements;

use std::collections::{BTreeMap, BTreeSet};

use countersign_metadata::Sha256;
use countersign_metadata::release::Input;

use super::{InputError, Inputs};

pub use choose::Python;
use index::{File, Index};

/// One version of a Python package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PypiId {
    name: String,
    version: String,
}

impl PypiId {
    /// A package by its parts, its name normalised; `None` where one of them is none.
    pub fn new(name: &str, version: &str) -> Option<Self> {
        let good_name = !name.is_empty()
            && name.len() <= 128
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let good_version = version.len() <= 64
            && version.starts_with(|c: char| c.is_ascii_alphanumeric())
            && version.bytes().all(|b| b.is_ascii_alphanumeric() || b".!+-_".contains(&b));
        (good_name && good_version)
            .then(|| Self { name: normalised(name), version: version.to_owned() })
    }

    /// `pypi:NAME==VERSION`, which its files' names begin with.
    pub fn name(&self) -> String {
        format!("pypi:{}=={}", self.name, self.version)
    }

    /// From that.
    pub fn from_name(name: &str) -> Option<Self> {
        let (name, version) = name.strip_prefix("pypi:")?.split_once("==")?;
        Self::new(name, version)
    }

    fn input_name(&self, file: &str) -> String {
        format!("{}/{file}", self.name())
    }
}

/// The file name in the name of a locked input.
pub fn file_of(name: &str) -> Option<&str> {
    let (package, file) = name.strip_prefix("pypi:")?.split_once('/')?;
    PypiId::from_name(&format!("pypi:{package}"))?;
    is_file_name(file).then_some(file)
}

/// PEP 503: one spelling of a name.
fn normalised(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if text.ends_with('-') => {}
            '-' | '_' | '.' => text.push('-'),
            c => text.push(c.to_ascii_lowercase()),
        }
    }
    text
}

fn is_file_name(name: &str) -> bool {
    name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!+".contains(&b))
}

/// Has files for all these requirements at hand: those that are `locked`, else those that fit `python` best.
///
/// # Errors
/// One cannot be had, or none has a hash that is allowed.
pub fn fetch(
    inputs: &Inputs,
    wanted: &BTreeMap<PypiId, BTreeSet<Sha256>>,
    locked: &[Input],
    python: &Python,
    now: &dyn Fn(&str),
) -> Result<Vec<Input>, InputError> {
    let mut found = Vec::new();
    let mut index = None;
    for (number, (id, allowed)) in wanted.iter().enumerate() {
        now(&format!("fetching Python packages: {number} of {}", wanted.len()));
        let begin = id.input_name("");
        let ours = locked.iter().filter(|input| input.name.starts_with(&begin));
        let mut missing = Vec::new();
        let before = found.len();
        for input in ours {
            match inputs.at_hand(&input.name, &input.blob.sha256)? {
                Some(_) => found.push(input.clone()),
                None => missing.push(input.blob.sha256),
            }
        }
        if missing.is_empty() && found.len() > before {
            continue;
        }
        let files = opened(&mut index, inputs)?.files(id)?;
        let chosen = if missing.is_empty() {
            let pinned = files.into_iter().filter(|file| allowed.contains(&file.sha256)).collect();
            choose::best(pinned, python)
        } else {
            files.into_iter().filter(|file| missing.contains(&file.sha256)).collect()
        };
        if chosen.is_empty() {
            let what =
                "its index has no file with one of the allowed hashes that fits this platform";
            return Err(InputError::Wrong { name: id.name(), what: what.to_owned() });
        }
        for file in chosen {
            found.push(had(inputs, id, &file, now)?);
        }
    }
    Ok(found)
}

/// Has a version's source archive at hand.
///
/// # Errors
/// It has none, or it cannot be had.
pub fn fetch_source(
    inputs: &Inputs,
    id: &PypiId,
    sha256: Option<&Sha256>,
    now: &dyn Fn(&str),
) -> Result<Input, InputError> {
    let mut index = None;
    let files = opened(&mut index, inputs)?.files(id)?;
    let mut files = files.into_iter().filter(|file| match sha256 {
        Some(sha256) => file.sha256 == *sha256,
        None => file.is_source_of(id),
    });
    let file = files.next().ok_or_else(|| InputError::Unsupported {
        name: id.name(),
        what: match sha256 {
            Some(sha256) => format!("its index has no file {sha256:?}"),
            None => "its index has no source archive of this version".to_owned(),
        },
    })?;
    had(inputs, id, &file, now)
}

fn had(inputs: &Inputs, id: &PypiId, file: &File, now: &dyn Fn(&str)) -> Result<Input, InputError> {
    let name = id.input_name(&file.name);
    if let Some(blob) = inputs.at_hand(&name, &file.sha256)? {
        return Ok(Input { name, blob });
    }
    super::url::download(inputs, &name, &file.url, &file.sha256, now)
}

/// The index, asked for only where something is missing.
fn opened<'a>(index: &'a mut Option<Index>, inputs: &Inputs) -> Result<&'a Index, InputError> {
    match index {
        Some(index) => Ok(index),
        none => Ok(none.insert(Index::of_machine(inputs)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_taken_from_a_locked_input_only_where_it_is_one() {
        assert_eq!(file_of("pypi:a==1/a-1.tar.gz"), Some("a-1.tar.gz"));
        for bad in ["pypi:a==1/../x", "pypi:a==1/.x", "pypi:a==1/b/c", "pypi:a/b", "crates:a@1"] {
            assert_eq!(file_of(bad), None, "{bad}");
        }
    }
}
