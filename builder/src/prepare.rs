//! Before a build: everything that it will see is resolved, at hand, and what the lock says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::release::{Blob, Input};

use crate::environment::{BuildEnvironment, EnvironmentError, Toolchain, is_input, rust_version};
use crate::inputs::{InputError, Inputs, crates, debian};
use crate::lock::{self, Lock, LockError, LockedEnvironment};
use crate::recipe::{self, Recipe, RecipeError, SourceSpec};
use crate::source::{self, SourceError, SourceTar};

/// A build that can begin: nothing in it will be asked from anywhere any more.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The recipe.
    pub recipe: Recipe,
    /// Its lock.
    pub lock: Lock,
    /// What it is built with.
    pub environment: BuildEnvironment,
    /// What is built.
    pub source: SourceTar,
    /// Locked inputs and their files.
    pub inputs: Vec<(Input, PathBuf)>,
}

/// Why a build cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// An input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Resolves everything that the recipe in `dir` names, fetches it, and returns the lock (not yet written), with the files
/// of the environment that have lost their set-uid or set-gid bit. `now` is told what is being done.
///
/// # Errors
/// Something cannot be resolved or fetched.
pub fn resolve(
    dir: &Path,
    inputs: &Inputs,
    cache: &Path,
    now: &dyn Fn(&str),
) -> Result<(Lock, Vec<String>), PrepareError> {
    let recipe = Recipe::read(dir)?;
    now("gathering the environment");
    let spec = recipe.spec();
    let (environment, of_environment) =
        BuildEnvironment::resolve(&spec.environment, dir, inputs, cache, now)?;
    let locked = LockedEnvironment {
        kind: environment.identity().kind,
        sha256: environment.identity().sha256,
        parts: environment.parts().to_vec(),
    };
    now("fetching inputs");
    let mut found = fetch_crates(&recipe, dir, inputs)?;
    found.extend(of_environment);
    let mut source = None;
    if let SourceSpec::Debian { package, files, sha256 } = &spec.source {
        let digests = debian::digests(package, files, sha256)?;
        let mut archives = Vec::new();
        for file in files {
            let wanted = &digests[&debian::input_name(package, file)];
            let input = debian::fetch(inputs, package, file, wanted)?;
            archives.push((input.name.clone(), inputs.get(&input)?));
            found.push(input);
        }
        let tar = source::of_archives(&archives, spec.build.source_date_epoch, inputs)?;
        source = Some(tar.blob);
    }
    found.dedup();
    Ok((Lock::new(&recipe, locked, source, found)?, environment.tamed().to_vec()))
}

/// Checks the lock of the recipe in `dir` against what is there now, and has everything at hand. `out` is left out
/// of the source.
///
/// # Errors
/// There is no lock, an entry of it is stale (it is named), or something is not at hand.
pub fn own(
    dir: &Path,
    out: Option<&Path>,
    inputs: &Inputs,
    cache: &Path,
    now: &dyn Fn(&str),
) -> Result<Prepared, PrepareError> {
    let recipe = Recipe::read(dir)?;
    let lock = Lock::read(dir)?;
    lock.check_recipe(&recipe)?;
    lock.check_inputs(&wanted(&recipe, &lock, dir)?)?;

    let environment = locked_environment(&recipe, &lock, dir, inputs, cache, now)?;

    now("fetching inputs");
    fetch_crates(&recipe, dir, inputs)?;
    if let SourceSpec::Debian { package, files, .. } = &recipe.spec().source {
        for file in files {
            let name = debian::input_name(package, file);
            if let Some(input) = lock.spec.inputs.iter().find(|input| input.name == name) {
                debian::fetch(inputs, package, file, &input.blob.sha256)?;
            }
        }
    }
    now("digesting the source");
    let epoch = recipe.spec().build.source_date_epoch;
    let source = match &recipe.spec().source {
        SourceSpec::Directory => source::of_directory(dir, out, epoch, inputs)?,
        SourceSpec::Debian { .. } => unpacked(&recipe, &lock, inputs)?,
    };
    let at_hand = at_hand(&lock, inputs)?;
    Ok(Prepared { recipe, lock, environment, source, inputs: at_hand })
}

/// The environment alone that the lock in `dir` names, as it is locked.
///
/// # Errors
/// As [`own`], as far as it concerns the environment.
pub fn environment(
    dir: &Path,
    inputs: &Inputs,
    cache: &Path,
    now: &dyn Fn(&str),
) -> Result<BuildEnvironment, PrepareError> {
    let recipe = Recipe::read(dir)?;
    let lock = Lock::read(dir)?;
    lock.check_recipe(&recipe)?;
    locked_environment(&recipe, &lock, dir, inputs, cache, now)
}

fn locked_environment(
    recipe: &Recipe,
    lock: &Lock,
    dir: &Path,
    inputs: &Inputs,
    cache: &Path,
    now: &dyn Fn(&str),
) -> Result<BuildEnvironment, PrepareError> {
    now("gathering the environment");
    let version = rust_version(&lock.spec.environment.parts);
    let toolchain = version.map_or(Toolchain::Of(dir), |v| Toolchain::Version(v, Some(dir)));
    let spec = &recipe.spec().environment;
    let environment = BuildEnvironment::locked(spec, &lock.spec, toolchain, inputs, cache, now)?;
    lock.check_environment(environment.identity(), environment.parts())?;
    Ok(environment)
}

/// The source tar of locked archives, which must come out as locked.
pub(crate) fn unpacked(
    recipe: &Recipe,
    lock: &Lock,
    inputs: &Inputs,
) -> Result<SourceTar, PrepareError> {
    let SourceSpec::Debian { package, files, .. } = &recipe.spec().source else {
        return Err(LockError::stale("source", "is a directory by the recipe").into());
    };
    let mut archives = Vec::new();
    for file in files {
        let name = debian::input_name(package, file);
        let input = lock.spec.inputs.iter().find(|input| input.name == name);
        let input = input.ok_or_else(|| LockError::stale(&name, "is not locked"))?;
        archives.push((name, inputs.get(input)?));
    }
    let tar = source::of_archives(&archives, recipe.spec().build.source_date_epoch, inputs)?;
    if lock.spec.source != Some(tar.blob) {
        let what = format!("is now {}", tar.blob.sha256.short());
        return Err(LockError::stale("source", what).into());
    }
    Ok(tar)
}

/// The files of all locked inputs.
pub(crate) fn at_hand(lock: &Lock, inputs: &Inputs) -> Result<Vec<(Input, PathBuf)>, InputError> {
    lock.spec.inputs.iter().map(|input| Ok((input.clone(), inputs.get(input)?))).collect()
}

fn fetch_crates(recipe: &Recipe, dir: &Path, inputs: &Inputs) -> Result<Vec<Input>, PrepareError> {
    let mut found: Vec<Input> = Vec::new();
    for path in cargo_locks(recipe, dir)? {
        let crates = crates::read_cargo_lock(&path)?;
        for input in crates::fetch(inputs, &path, &crates)? {
            if !found.contains(&input) {
                found.push(input);
            }
        }
    }
    Ok(found)
}

fn cargo_locks(recipe: &Recipe, dir: &Path) -> Result<Vec<PathBuf>, InputError> {
    let paths = &recipe.spec().build.cargo_lock;
    match (&recipe.spec().source, paths.first()) {
        (SourceSpec::Debian { .. }, Some(path)) => Err(InputError::Unsupported {
            name: path.to_string(),
            what: "this version reads build.cargo-lock from a directory source only".to_owned(),
        }),
        _ => Ok(paths.iter().map(|path| path.below(dir)).collect()),
    }
}

/// Names and digests of the inputs that the recipe asks for now.
fn wanted(
    recipe: &Recipe,
    lock: &Lock,
    dir: &Path,
) -> Result<BTreeMap<String, Sha256>, PrepareError> {
    // What an environment is made of, only the lock says.
    let of_environment = lock.spec.inputs.iter().filter(|input| is_input(input));
    let mut wanted: BTreeMap<String, Sha256> =
        of_environment.map(|input| (input.name.clone(), input.blob.sha256)).collect();
    for path in cargo_locks(recipe, dir)? {
        for (id, sha256) in crates::read_cargo_lock(&path)? {
            wanted.insert(id.input_name(), sha256);
        }
    }
    if let SourceSpec::Debian { package, files, sha256 } = &recipe.spec().source {
        for file in files {
            let name = debian::input_name(package, file);
            let locked = lock.spec.inputs.iter().find(|input| input.name == name);
            let digest = sha256.get(file).copied().or(locked.map(|input| input.blob.sha256));
            let digest = digest.ok_or_else(|| LockError::stale(&name, "is not locked"))?;
            wanted.insert(name, digest);
        }
    }
    Ok(wanted)
}

impl Prepared {
    /// Everything that a rebuild needs, for the release: recipe, lock, source and locked inputs; all are kept in
    /// the store.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn release_inputs(&self, inputs: &Inputs) -> Result<Vec<Input>, InputError> {
        let named = |name: &str, blob: Blob| Input { name: name.to_owned(), blob };
        let mut all = vec![
            named(recipe::FILE, inputs.add(self.recipe.bytes())?.1),
            named(lock::FILE, inputs.add(self.lock.bytes())?.1),
            named("source", self.source.blob),
        ];
        all.extend(self.inputs.iter().map(|(input, _)| input.clone()));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The locked crates.
    pub fn crates(&self) -> Vec<(Input, PathBuf)> {
        let is_crate = |input: &Input| input.name.starts_with("crates:");
        self.inputs.iter().filter(|(input, _)| is_crate(input)).cloned().collect()
    }
}
