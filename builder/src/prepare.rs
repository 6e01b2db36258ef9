//! Before a build: everything that it will see is resolved, at hand, and what the lock says.

use std::path::{Path, PathBuf};

use countersign_metadata::release::{Blob, Input};

use crate::Inside;
use crate::environment::{BuildEnvironment, EnvironmentError, Toolchain, is_input, rust_version};
use crate::inputs::lists::{self, Lists, Place};
use crate::inputs::pypi::Python;
use crate::inputs::wanted::{Pin, Wanted};
use crate::inputs::{InputError, Inputs};
use crate::lock::{self, Lock, LockError, LockedEnvironment};
use crate::recipe::{self, InputSpec, Recipe, RecipeError};
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
    let python = Python::among(environment.parts());
    now("fetching the source");
    let fetched = source::newly(spec, dir, inputs, now)?;
    now("fetching inputs");
    let further = lists::further(spec, dir, inputs, &[], now)?;
    let tar = fetched.as_ref().map(|fetched| &fetched.tar);
    let lists = Lists::read(spec, Place { dir, source: tar, further: &further, inputs })?;
    let mut found = lists.fetch(inputs, &[], &python, now)?;
    found.extend(of_environment);
    found.extend(further.into_values());
    let source = tar.map(|tar| tar.blob);
    found.extend(fetched.into_iter().flat_map(|fetched| fetched.inputs));
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
    let spec = recipe.spec();
    let locked = &lock.spec.inputs;
    let fetched = source::from_lock(spec, &lock, Some(dir), inputs, now)?;
    let further = lists::further(spec, dir, inputs, locked, now)?;
    let place = Place { dir, source: fetched.as_ref(), further: &further, inputs };
    let lists = Lists::read(spec, place)?;
    let mut wanted = source::wanted(spec);
    wanted.extend(lists::further_wanted(spec, &further));
    wanted.extend(lists.wanted());
    // What an environment is made of, only the lock says.
    let of_environment = locked.iter().filter(|input| is_input(input));
    wanted.extend(of_environment.map(|input| Wanted::exactly(&input.name, input.blob.sha256)));
    lock.check_inputs(&wanted)?;

    let environment = locked_environment(&recipe, &lock, dir, inputs, cache, now)?;

    now("fetching inputs");
    lists.fetch(inputs, &lock.spec.inputs, &Python::among(environment.parts()), now)?;
    let at_hand = at_hand(&lock, inputs)?;
    check_contents(&wanted, &at_hand)?;
    now("digesting the source");
    let source = match fetched {
        Some(tar) => tar,
        None => source::of_directory(dir, out, recipe.spec().build.source_date_epoch, inputs)?,
    };
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

/// A lock file may pin by a digest that the lock does not have: then the bytes tell.
fn check_contents(wanted: &[Wanted], at_hand: &[(Input, PathBuf)]) -> Result<(), PrepareError> {
    for wanted in wanted {
        for (input, path) in at_hand.iter().filter(|(input, _)| wanted.is_called(&input.name)) {
            if !wanted.holds(path)? {
                return Err(LockError::stale(&input.name, "is pinned by another digest now").into());
            }
        }
    }
    Ok(())
}

/// The files of all locked inputs.
pub(crate) fn at_hand(lock: &Lock, inputs: &Inputs) -> Result<Vec<(Input, PathBuf)>, InputError> {
    lock.spec.inputs.iter().map(|input| Ok((input.clone(), inputs.get(input)?))).collect()
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

    /// Locked inputs whose names begin so.
    pub fn named(&self, begin: &str) -> Vec<(Input, PathBuf)> {
        let is_named = |input: &Input| input.name.starts_with(begin);
        self.inputs.iter().filter(|(input, _)| is_named(input)).cloned().collect()
    }

    /// The files of the recipe's `[inputs]`, by their paths in the source.
    ///
    /// # Errors
    /// The lock has none of that name.
    pub fn laid(&self) -> Result<Vec<(Inside, PathBuf)>, LockError> {
        let find = |(path, entry): (&Inside, &InputSpec)| {
            let wanted = Wanted { name: lists::name_of(entry), pin: Pin::Whatever };
            let found = self.inputs.iter().find(|(input, _)| wanted.is_called(&input.name));
            let (_, file) = found.ok_or_else(|| LockError::stale(&wanted.name, "is not locked"))?;
            Ok((path.clone(), file.clone()))
        };
        self.recipe.spec().inputs.iter().map(find).collect()
    }
}
