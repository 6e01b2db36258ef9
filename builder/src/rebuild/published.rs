//! A published or drafted release: where its inputs and its artifact come from.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use countersign_metadata::layout::{self, limit};
use countersign_metadata::release::{Blob, FORMAT};
use countersign_metadata::trust::{Trust, VerifiedTarget};
use countersign_metadata::{Platform, Product, Release, Sha256, Version};
use jiff::Timestamp;

use super::RebuildError;
use crate::environment::BuildEnvironment;
use crate::http::Repository;
use crate::inputs::{InputError, Inputs};
use crate::lock::{self, Lock, difference};
use crate::prepare::{self, PrepareError, Prepared};
use crate::recipe::{self, Recipe, SourceSpec};
use crate::source;

/// A release to be rebuilt, and where its inputs and its artifact come from.
#[derive(Debug)]
pub struct Published {
    release: Release,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// A builder's output directory or a repository manager's draft: unsigned as yet.
    Directory(PathBuf),
    /// A repository, and the target that its keyholders signed.
    Repository(Box<(Repository, VerifiedTarget)>),
}

impl Published {
    /// The release in a directory that a builder or a repository manager wrote.
    ///
    /// # Errors
    /// There is none, or it is malformed.
    pub fn in_directory(dir: &Path) -> Result<Self, RebuildError> {
        let path = dir.join("release.json");
        let bad = |what: String| RebuildError::NoRelease { path: path.clone(), what };
        let bytes =
            crate::files::read_limited(&path, limit::METADATA).map_err(|e| bad(e.to_string()))?;
        let release: Release = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if release.format != FORMAT {
            return Err(bad(format!("format {} is not known ({FORMAT} is)", release.format)));
        }
        Ok(Self { release, origin: Origin::Directory(dir.to_owned()) })
    }

    /// The release that a repository's keyholders signed, trusted from `root`.
    ///
    /// # Errors
    /// The repository cannot be read or is not to be trusted, or has no such release.
    pub fn in_repository(
        mut repository: Repository,
        root: &[u8],
        (product, version, platform): (&Product, &Version, &Platform),
        now: Timestamp,
    ) -> Result<Self, RebuildError> {
        let mut trust = Trust::from_root(root)?;
        trust.refresh(now, &mut repository)?;
        let releases = trust.releases(product, now, &mut repository)?;
        let target = releases.verified.into_iter().find(|target| {
            let release = target.release();
            release.version == *version && release.platform == *platform
        });
        match target {
            Some(target) => Ok(Self {
                release: target.release().clone(),
                origin: Origin::Repository(Box::new((repository, target))),
            }),
            None => Err(RebuildError::NotThere {
                product: product.clone(),
                version: version.clone(),
                platform: platform.clone(),
                refused: releases
                    .refused
                    .iter()
                    .find(|(path, _)| path.starts_with(&format!("{product}/{version}/")))
                    .map(|(_, reason)| format!(": {reason}"))
                    .unwrap_or_default(),
            }),
        }
    }

    /// What it says about itself.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Who signed it, by label; nobody yet for a directory.
    pub fn signers(&self) -> Vec<String> {
        match &self.origin {
            Origin::Directory(_) => Vec::new(),
            Origin::Repository(both) => both.1.signers().iter().map(ToString::to_string).collect(),
        }
    }

    /// Has everything that the release was built from at hand.
    ///
    /// # Errors
    /// An input is missing or wrong; the release contradicts its recipe or lock; the environment is another and
    /// `other_environment` is not given.
    pub fn prepare(
        &self,
        inputs: &Inputs,
        cache: &Path,
        other_environment: bool,
        now: &dyn Fn(&str),
    ) -> Result<Prepared, RebuildError> {
        let release = &self.release;
        now("fetching the recipe");
        let recipe = self.read(recipe::FILE, &release.recipe, recipe::MAX_LENGTH, inputs)?;
        let recipe = Recipe::parse(recipe, recipe::FILE).map_err(PrepareError::from)?;
        let lock = self.read(lock::FILE, &release.lock, lock::MAX_LENGTH, inputs)?;
        let lock = Lock::parse(lock, lock::FILE).map_err(PrepareError::from)?;
        let spec = recipe.spec();
        if spec.product != release.product || spec.version != release.version {
            return Err(RebuildError::Contradiction("recipe"));
        }
        lock.check_recipe(&recipe).map_err(|_| RebuildError::Contradiction("lock"))?;
        if lock.spec.environment.identity() != release.environment {
            return Err(RebuildError::Contradiction("lock"));
        }
        now("fetching inputs");
        for input in &lock.spec.inputs {
            self.fetch(&input.name, &input.blob, inputs)?;
        }
        let source = match spec.source {
            SourceSpec::Directory => {
                self.fetch("source", &release.source, inputs)?;
                source::stored(&release.source, inputs).map_err(PrepareError::from)?
            }
            SourceSpec::Debian { .. } => prepare::unpacked(&recipe, &lock, inputs)?,
        };
        if source.blob != release.source {
            return Err(RebuildError::Contradiction("source"));
        }
        now("gathering the environment");
        let parts = &lock.spec.environment.parts;
        let here = Path::new(".");
        let wanted_rust = crate::environment::rust_version(parts);
        let environment = BuildEnvironment::gather(&spec.environment, here, wanted_rust, cache)
            .map_err(PrepareError::from)?;
        if *environment.identity() != release.environment && !other_environment {
            return Err(RebuildError::OtherEnvironment {
                published: release.environment.sha256,
                here: environment.identity().sha256,
                changes: difference(parts, environment.parts()),
            });
        }
        let at_hand = prepare::at_hand(&lock, inputs)?;
        Ok(Prepared { recipe, lock, environment, source, inputs: at_hand })
    }

    /// Writes the published artifact to `path`, verified, to be compared with what came out.
    ///
    /// # Errors
    /// It is not there, or is not what the release says.
    pub fn artifact(&self, path: &Path) -> Result<(), RebuildError> {
        let failed = |source| RebuildError::Io { path: path.to_owned(), source };
        match &self.origin {
            Origin::Directory(dir) => {
                fs::copy(dir.join(self.release.file_name()), path).map(drop).map_err(failed)
            }
            Origin::Repository(both) => {
                let (repository, target) = &**both;
                let at = target.served_at();
                let stream = repository.stream(&at, target.length())?;
                let stream = stream.ok_or_else(|| missing(&at, target.sha256()))?;
                let mut file = File::create(path).map_err(failed)?;
                let mut hasher = countersign_metadata::digest::Hasher::default();
                let mut stream = stream.take(target.length() + 1);
                let mut buffer = vec![0; 256 << 10];
                loop {
                    match stream.read(&mut buffer).map_err(failed)? {
                        0 => break,
                        n => {
                            hasher.update(&buffer[..n]);
                            io::Write::write_all(&mut file, &buffer[..n]).map_err(failed)?;
                        }
                    }
                }
                if hasher.finish() == (*target.sha256(), target.length()) {
                    return Ok(());
                }
                Err(InputError::Wrong {
                    name: at,
                    what: "the mirror serves other bytes".to_owned(),
                }
                .into())
            }
        }
    }

    fn read(
        &self,
        name: &str,
        sha256: &Sha256,
        max: u64,
        inputs: &Inputs,
    ) -> Result<Vec<u8>, RebuildError> {
        self.fetch_digest(name, sha256, max, inputs)?;
        let path = inputs.find(name, sha256)?.ok_or_else(|| missing(name, sha256))?;
        let bytes = crate::files::read_limited(&path, max)
            .map_err(|source| RebuildError::Io { path, source })?;
        if Sha256::of(&bytes) == *sha256 {
            return Ok(bytes);
        }
        Err(InputError::Wrong { name: name.to_owned(), what: "it changed while read".to_owned() }
            .into())
    }

    fn fetch(&self, name: &str, blob: &Blob, inputs: &Inputs) -> Result<(), RebuildError> {
        self.fetch_digest(name, &blob.sha256, blob.length, inputs)
    }

    fn fetch_digest(
        &self,
        name: &str,
        sha256: &Sha256,
        max: u64,
        inputs: &Inputs,
    ) -> Result<(), RebuildError> {
        if inputs.find(name, sha256)?.is_some() {
            return Ok(());
        }
        let at = layout::input(sha256);
        let stream = match &self.origin {
            // The inputs of a directory were given to the store as a place to look at.
            Origin::Directory(_) => None,
            Origin::Repository(both) => both.0.stream(&at, max)?,
        };
        let stream = stream.ok_or_else(|| missing(name, sha256))?;
        let (_, blob) = inputs.add(stream.take(max + 1))?;
        if blob.sha256 == *sha256 {
            return Ok(());
        }
        let what = format!("{:?} came instead of {sha256:?}", blob.sha256);
        Err(InputError::Wrong { name: name.to_owned(), what }.into())
    }
}

fn missing(name: &str, sha256: &Sha256) -> InputError {
    InputError::Missing { name: name.to_owned(), sha256: *sha256 }
}
