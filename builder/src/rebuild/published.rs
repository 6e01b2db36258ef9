//! A published or drafted release: where its inputs and its artifact come from.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use countersign_metadata::digest::Hasher;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::release::{Blob, FORMAT};
use countersign_metadata::trust::{Trust, VerifiedTarget};
use countersign_metadata::{Platform, Product, Release, Sha256, Version};
use jiff::Timestamp;

use super::RebuildError;
use super::fields::first_difference;
use crate::environment::{BuildEnvironment, Toolchain, rust_version};
use crate::http::Repository;
use crate::inputs::{InputError, Inputs};
use crate::lock::{self, Lock, difference};
use crate::prepare::{self, PrepareError, Prepared};
use crate::recipe::{self, Recipe, SourceSpec};
use crate::{files, pack, provenance, source};

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
            files::read_limited_no_link(&path, limit::METADATA).map_err(|e| bad(e.to_string()))?;
        let release: Release = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if release.format != FORMAT {
            return Err(bad(format!("format {} is not known ({FORMAT} is)", release.format)));
        }
        if let Some(node) = &release.node {
            node.check().map_err(|e| bad(e.to_string()))?;
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
        // Of a product with hash bins, the one bin that it is in: an old release is in no index.
        if let Some(target) = trust.release(product, version, platform, now, &mut repository)? {
            let release = target.release().clone();
            let origin = Origin::Repository(Box::new((repository, target)));
            return Ok(Self { release, origin });
        }
        let releases = trust.releases(product, now, &mut repository)?;
        let here = format!("{product}/{version}/");
        let refused = releases.refused.iter().find(|(path, _)| path.starts_with(&here));
        Err(RebuildError::NotThere {
            product: product.clone(),
            version: version.clone(),
            platform: platform.clone(),
            refused: refused.map(|(_, reason)| format!(": {reason}")).unwrap_or_default(),
        })
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
    /// An input is missing or wrong; the release says anything that does not follow from its recipe, lock and source
    /// (the artifact is what is about to be seen); the platform is another; the environment is another and
    /// `other_environment` is not given.
    pub fn prepare(
        &self,
        inputs: &Inputs,
        cache: &Path,
        other_environment: bool,
        now: &dyn Fn(&str),
    ) -> Result<Prepared, RebuildError> {
        let release = &self.release;
        let here = Platform::here();
        if release.platform != here {
            return Err(RebuildError::OtherPlatform { published: release.platform.clone(), here });
        }
        now("fetching the recipe");
        let recipe = self.read(recipe::FILE, &release.recipe, recipe::MAX_LENGTH, inputs)?;
        let recipe = Recipe::parse(recipe, recipe::FILE).map_err(PrepareError::from)?;
        let lock = self.read(lock::FILE, &release.lock, lock::MAX_LENGTH, inputs)?;
        let lock = Lock::parse(lock, lock::FILE).map_err(PrepareError::from)?;
        let spec = recipe.spec();
        lock.check_recipe(&recipe).map_err(|_| RebuildError::Contradiction("lock"))?;
        if lock.spec.environment.identity() != release.environment {
            return Err(RebuildError::Contradiction("lock"));
        }
        now("fetching inputs");
        for input in &lock.spec.inputs {
            self.fetch(&input.name, &input.blob, inputs)?;
        }
        if matches!(spec.source, SourceSpec::Directory | SourceSpec::Git { .. }) {
            self.fetch("source", &release.source, inputs)?;
        }
        let source = match source::from_lock(spec, &lock, None, inputs, now)? {
            Some(tar) => tar,
            None => source::stored(&release.source, inputs).map_err(PrepareError::from)?,
        };
        if source.blob != release.source {
            return Err(RebuildError::Contradiction("source"));
        }
        now("gathering the environment");
        let parts = &lock.spec.environment.parts;
        let wanted_rust =
            rust_version(parts).map_or(Toolchain::Default, |v| Toolchain::Version(v, None));
        let environment = BuildEnvironment::locked(
            &spec.environment,
            &lock.spec,
            wanted_rust,
            inputs,
            cache,
            now,
        )
        .map_err(PrepareError::from)?;
        let identity = environment.identity().clone();
        let changes = difference(parts, environment.parts());
        let at_hand = prepare::at_hand(&lock, inputs)?;
        let prepared = Prepared { recipe, lock, environment, source, inputs: at_hand };
        self.says_what_was_prepared(&prepared, inputs)?;
        if identity != release.environment && !other_environment {
            return Err(RebuildError::OtherEnvironment {
                published: release.environment.sha256,
                here: identity.sha256,
                changes,
            });
        }
        Ok(prepared)
    }

    /// A verdict is about the whole release, so everything that it says must follow from what was prepared. Its artifact
    /// is compared by the rebuild itself; its environment is the lock's, which this machine's may differ from.
    fn says_what_was_prepared(
        &self,
        prepared: &Prepared,
        inputs: &Inputs,
    ) -> Result<(), RebuildError> {
        let release = &self.release;
        let mut expected =
            provenance::release(prepared, release.artifact, prepared.release_inputs(inputs)?);
        expected.environment = prepared.lock.spec.environment.identity();
        first_difference(&expected, release).map_or(Ok(()), |f| Err(RebuildError::OtherField(f)))
    }

    /// Writes the published artifact to `path`, verified, to be compared with what came out.
    ///
    /// # Errors
    /// It is not there, or is not what the release says.
    pub fn artifact(&self, path: &Path) -> Result<(), RebuildError> {
        match &self.origin {
            Origin::Directory(dir) => {
                let name = self.release.file_name();
                let from = dir.join(&name);
                let length = limit::ARTIFACT;
                let failed = |source| RebuildError::Io { path: from.clone(), source };
                let stream = files::open_no_link(&from).map_err(failed)?;
                copy(stream, length, path)?;
                let archive = pack::open(path).map_err(|e| wrong(&name, e.to_string()))?;
                let (sha256, _) = hash(archive, length).map_err(|e| wrong(&name, e.to_string()))?;
                match sha256 == self.release.artifact.sha256 {
                    true => Ok(()),
                    false => Err(wrong(&name, "it is not the release's".to_owned())),
                }
            }
            Origin::Repository(both) => {
                let (repository, target) = &**both;
                let at = target.served_at();
                let stream = repository.stream(&at, target.length())?;
                let stream = stream.ok_or_else(|| missing(&at, target.sha256()))?;
                match copy(stream, target.length(), path)? == (*target.sha256(), target.length()) {
                    true => Ok(()),
                    false => Err(wrong(&at, "the mirror serves other bytes".to_owned())),
                }
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
        let bytes = files::read_limited_no_link(&path, max)
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

fn wrong(name: &str, what: String) -> RebuildError {
    InputError::Wrong { name: name.to_owned(), what }.into()
}

/// Writes at most `limit` bytes, and one more where there are more, to `path`.
fn copy(stream: impl Read, limit: u64, path: &Path) -> Result<(Sha256, u64), RebuildError> {
    let failed = |source| RebuildError::Io { path: path.to_owned(), source };
    let mut file = File::create(path).map_err(failed)?;
    hash_to(stream, limit, &mut file).map_err(failed)
}

fn hash(stream: impl Read, limit: u64) -> io::Result<(Sha256, u64)> {
    hash_to(stream, limit, &mut io::sink())
}

fn hash_to(stream: impl Read, limit: u64, to: &mut dyn Write) -> io::Result<(Sha256, u64)> {
    let mut hasher = Hasher::default();
    let mut stream = stream.take(limit + 1);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => {
                hasher.update(&buffer[..n]);
                to.write_all(&buffer[..n])?;
            }
        }
    }
}
