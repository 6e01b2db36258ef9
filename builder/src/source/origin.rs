//! A source that is no directory: fetched when it is locked, made again from what was locked.

use std::path::{Path, PathBuf};

use countersign_metadata::release::Input;

use super::git::{self, MAX_COMMIT};
use super::{SourceError, SourceTar, debian, pack_source, stored};
use crate::environment::is_input;
use crate::inputs::wanted::{Pin, Wanted};
use crate::inputs::{InputError, Inputs, debian as pool, url};
use crate::lock::{Lock, LockError};
use crate::pack::{self, Cap, Plan, Strip};
use crate::prepare::PrepareError;
use crate::recipe::{RecipeSpec, SourceSpec};
use crate::scratch::Scratch;

/// A fetched source.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What will be built.
    pub tar: SourceTar,
    /// What it was made of.
    pub inputs: Vec<Input>,
}

/// Fetches a recipe's source; `None` where it is the recipe's own directory `beside`.
///
/// # Errors
/// It cannot be had, or is refused.
pub fn newly(
    spec: &RecipeSpec,
    beside: &Path,
    inputs: &Inputs,
    now: &dyn Fn(&str),
) -> Result<Option<Fetched>, SourceError> {
    let epoch = spec.build.source_date_epoch;
    let mut found = Vec::new();
    match &spec.source {
        SourceSpec::Directory => return Ok(None),
        SourceSpec::Git { url, commit } => {
            now(&format!("fetching the commit {commit}"));
            let (tar, input) = git::fetch(url, commit, beside, epoch, inputs)?;
            return Ok(Some(Fetched { tar, inputs: vec![input] }));
        }
        SourceSpec::Archive { url, sha256, .. } => {
            found.push(url::fetch(inputs, url, sha256, now)?)
        }
        SourceSpec::Debian { package, files, sha256 } => {
            for (file, sha256) in pool::resolve(inputs, package, files, sha256)? {
                now(&format!("fetching {file}"));
                found.push(pool::fetch(inputs, package, &file, &sha256)?);
            }
        }
        SourceSpec::Package { package, sha256 } => {
            found.push(package.fetch(inputs, sha256.as_ref(), now)?);
        }
    }
    now("unpacking the source");
    let tar = unpacked(spec, &found, inputs)?;
    Ok(Some(Fetched { tar, inputs: found }))
}

/// The source that was locked; `None` where it is the recipe's own directory. What is not at hand is fetched where
/// `beside` says what addresses are relative to, and else missing.
///
/// # Errors
/// It is not at hand, or does not come out as it was locked.
pub fn from_lock(
    spec: &RecipeSpec,
    lock: &Lock,
    beside: Option<&Path>,
    inputs: &Inputs,
    now: &dyn Fn(&str),
) -> Result<Option<SourceTar>, PrepareError> {
    if matches!(spec.source, SourceSpec::Directory) {
        return Ok(None);
    }
    let asked = wanted(spec);
    // A binary package of the environment may be of the same name and version.
    let is_ours = |input: &&Input| {
        !is_input(input) && asked.iter().any(|wanted| wanted.is_called(&input.name))
    };
    let ours: Vec<Input> = lock.spec.inputs.iter().filter(is_ours).cloned().collect();
    for wanted in &asked {
        if !ours.iter().any(|input| wanted.is_called(&input.name)) {
            return Err(LockError::stale(&wanted.name, "is not locked").into());
        }
        if let Some(input) =
            ours.iter().find(|input| wanted.is_called(&input.name) && !wanted.allows(input))
        {
            return Err(LockError::stale(&input.name, "is another in the recipe").into());
        }
    }
    let blob = lock.spec.source.ok_or_else(|| LockError::stale("source", "is not locked"))?;
    if let SourceSpec::Git { url, commit } = &spec.source {
        let name = commit.input_name();
        let object = ours.first().ok_or_else(|| LockError::stale(&name, "is not locked"))?;
        let missing = inputs.at_hand(&name, &object.blob.sha256)?.is_none()
            || inputs.at_hand("source", &blob.sha256)?.is_none();
        if let (true, Some(beside)) = (missing, beside) {
            now(&format!("fetching the commit {commit}"));
            git::fetch(url, commit, beside, spec.build.source_date_epoch, inputs)?;
        }
        let tar = stored(&blob, inputs)?;
        let path = inputs.get(object)?;
        let object = crate::files::read_limited_no_link(&path, MAX_COMMIT)
            .map_err(|e| InputError::io(&path, e))?;
        git::verify(&tar, commit, &object)?;
        return Ok(Some(tar));
    }
    if beside.is_some() {
        for input in &ours {
            refetch(spec, input, inputs, now)?;
        }
    }
    now("unpacking the source");
    let tar = unpacked(spec, &ours, inputs)?;
    if blob == tar.blob {
        return Ok(Some(tar));
    }
    let what = format!("is now {}", tar.blob.sha256.short());
    Err(LockError::stale("source", what).into())
}

/// What a recipe's source asks for.
pub fn wanted(spec: &RecipeSpec) -> Vec<Wanted> {
    match &spec.source {
        SourceSpec::Directory => Vec::new(),
        SourceSpec::Git { commit, .. } => {
            vec![Wanted { name: commit.input_name(), pin: Pin::Whatever }]
        }
        SourceSpec::Archive { url, sha256, .. } => vec![Wanted::exactly(url, *sha256)],
        SourceSpec::Package { package, sha256 } => vec![package.wanted(sha256.as_ref())],
        SourceSpec::Debian { package, files, sha256 } => {
            let name = |file: &str| pool::input_name(package, file);
            let pinned = sha256.iter().filter(|(file, _)| files.is_empty() || files.contains(file));
            let mut all: Vec<Wanted> =
                pinned.map(|(file, digest)| Wanted::exactly(name(file), *digest)).collect();
            let others = files.iter().filter(|file| !sha256.contains_key(*file));
            all.extend(others.map(|file| Wanted { name: name(file), pin: Pin::Whatever }));
            if files.is_empty() {
                all.push(Wanted { name: format!("debian:{package}"), pin: Pin::Whatever });
            }
            all
        }
    }
}

fn refetch(
    spec: &RecipeSpec,
    input: &Input,
    inputs: &Inputs,
    now: &dyn Fn(&str),
) -> Result<(), InputError> {
    let sha256 = &input.blob.sha256;
    match &spec.source {
        SourceSpec::Archive { url, .. } => url::fetch(inputs, url, sha256, now)?,
        SourceSpec::Package { package, .. } if inputs.find(&input.name, sha256)?.is_none() => {
            package.fetch(inputs, Some(sha256), now)?
        }
        SourceSpec::Debian { package, .. } => {
            let file = input.name.rsplit('/').next().unwrap_or_default();
            pool::fetch(inputs, package, file, sha256)?
        }
        _ => return Ok(()),
    };
    Ok(())
}

/// The canonical tar of archives that are at hand.
fn unpacked(
    spec: &RecipeSpec,
    archives: &[Input],
    inputs: &Inputs,
) -> Result<SourceTar, SourceError> {
    let failed = |source| SourceError::Io { path: PathBuf::from("a scratch directory"), source };
    let dir = Scratch::of_machine().map_err(failed)?;
    let mut archives: Vec<&Input> = archives.iter().collect();
    let last = |input: &Input| input.name.rsplit('/').next().unwrap_or_default().to_owned();
    if let SourceSpec::Debian { files, .. } = &spec.source {
        // In the recipe's order, and else the upstream source first.
        archives.sort_by_key(|input| {
            let file = last(input);
            (files.iter().position(|f| *f == file), debian::Role::of(&file), file)
        });
    }
    for input in archives {
        let path = inputs.get(input)?;
        let strip = match spec.source {
            SourceSpec::Archive { strip: false, .. } => Strip::Nothing,
            _ => Strip::First,
        };
        let result = match &spec.source {
            SourceSpec::Debian { .. } => debian::unpack(&last(input), &path, dir.path()),
            _ => pack::unpack_file(&path, dir.path(), Cap::default(), strip),
        };
        result.map_err(|source| SourceError::Unpack { name: input.name.clone(), source })?;
    }
    pack_source(&Plan::of_directory(dir.path())?, spec.build.source_date_epoch, inputs)
}
