//! `NODE/trust`: what was trusted, byte for byte as downloaded, and how it is brought up to date.
//!
//! Rollback protection lives in these files, so they are written also after a failed refresh, each atomically,
//! `timestamp.json` last: a power cut in between leaves an older timestamp, never a newer one without its files.

mod handed_on;
mod instance;
mod verdicts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_metadata::layout::{self, limit};
use countersign_metadata::trust::{
    Kept, Releases, Source, SourceError, Trust, TrustError, product_of,
};
use countersign_metadata::{Release, Sha256};
use jiff::Timestamp;

use crate::config::Rebuilt;
use crate::durable::{self, DiskError, OnDisk};
use crate::generation::{Generation, GenerationError};
use crate::mirrors::{self, Fault, For, Mirrors};
use crate::net::{Mirror, NetError, Repository};
use crate::verify::Reproduced;
use crate::{Config, Home, verify};

pub use handed_on::{HandedOn, expiries, handed_on};
pub use instance::signed_trusted_root;
pub use verdicts::kept_reproducers;

/// What a refresh found.
#[derive(Debug)]
pub struct Refreshed {
    /// The product's releases, verified or refused.
    pub releases: Releases,
    /// Who reproduced which artifact, by verified verdicts; looked at only where the policy asks for it.
    pub reproduced: BTreeMap<Sha256, Reproduced>,
    /// The mirror that gave it.
    pub mirror: Repository,
    /// Mirrors that were asked before it, and what was wrong with them.
    pub passed_over: Vec<(Repository, TrustError)>,
}

/// Nothing can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustStoreError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The pinned or the kept root is no root.
    #[error("the root in {path} is not valid")]
    Root {
        /// The file or folder.
        path: String,
        /// Why.
        source: TrustError,
    },
    /// Every mirror failed.
    #[error("no mirror gave a repository that can be trusted: {}", list(.0))]
    NoMirror(Vec<(Repository, TrustError)>),
    /// What runs cannot be read.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// What was kept has no (fresh) releases.
    #[error("what was trusted before cannot be used any more")]
    Stale(#[source] TrustError),
}

impl TrustStoreError {
    /// Whether trying again can help.
    pub fn retry(&self) -> bool {
        matches!(self, Self::NoMirror(tried) if tried.iter().any(|(_, error)| error.retry()))
    }

    /// What was wrong with the last mirror that answered.
    pub fn last_answer(&self) -> Option<&TrustError> {
        let Self::NoMirror(tried) = self else { return None };
        let answered = |error: &&TrustError| !matches!(error, TrustError::Unreachable { .. });
        tried.iter().rev().map(|(_, error)| error).find(answered)
    }

    /// Whether no mirror even answered.
    pub fn is_unreachable(&self) -> bool {
        let Self::NoMirror(tried) = self else { return false };
        tried.iter().all(|(_, error)| matches!(error, TrustError::Unreachable { .. }))
    }
}

/// An error and all its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _infallible = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn list(tried: &[(Repository, TrustError)]) -> String {
    let all: Vec<_> = tried.iter().map(|(mirror, e)| format!("{mirror} ({})", chain(e))).collect();
    all.join("; ")
}

impl Source for &Mirror {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.get(path, max_bytes).map_err(|error: NetError| {
            if error.retry() { error.into() } else { SourceError::permanent(error) }
        })
    }
}

/// A mirror, and the roots that it gave: the law keeps only the last one, others may need the way to it.
struct Roots<'a> {
    mirror: &'a Mirror,
    seen: Vec<(u64, Vec<u8>)>,
}

impl Source for Roots<'_> {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let bytes = (&mut &*self.mirror).fetch(path, max_bytes)?;
        if let Some(version) = handed_on::root_version(path)
            && let Some(bytes) = &bytes
        {
            self.seen.push((version, bytes.clone()));
        }
        Ok(bytes)
    }
}

/// A source that has nothing: only what was kept counts.
struct Offline;

impl Source for Offline {
    fn fetch(&mut self, _path: &str, _max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }
}

/// Asks the mirrors, in order, until one gives a repository that can be trusted; keeps what was learnt.
///
/// # Errors
/// No mirror did, or the disk fails.
pub fn refresh(home: &Home, config: &Config, now: Timestamp) -> Result<Refreshed, TrustStoreError> {
    let _alone = lock(home)?;
    let mut trust = load(home, now)?;
    let mut passed_over = Vec::new();
    let mut mirrors = Mirrors::read(home);
    for repository in &config.repositories {
        if let Some(alone) = mirrors.left_alone(repository, For::Metadata, &mirrors::now()) {
            let (path, source) = (repository.to_string(), Box::new(alone));
            let error = TrustError::Unreachable { path, retry: true, source };
            passed_over.push((repository.clone(), error));
            continue;
        }
        match ask(home, config, &mut trust, repository, now)? {
            Ok((releases, reproduced)) => {
                mirrors.worked(repository, For::Metadata);
                mirrors.save(&config.repositories)?;
                let mirror = repository.clone();
                return Ok(Refreshed { releases, reproduced, mirror, passed_over });
            }
            Err(error) => {
                note(&mut mirrors, repository, &error);
                passed_over.push((repository.clone(), error));
            }
        }
    }
    mirrors.save(&config.repositories)?;
    Err(TrustStoreError::NoMirror(passed_over))
}

/// Keeps in mind what was wrong with a mirror.
fn note(mirrors: &mut Mirrors, repository: &Repository, error: &TrustError) {
    let refusal = match error {
        TrustError::Unreachable { source, .. } => source.downcast_ref::<NetError>(),
        _ => None,
    };
    let fault = match error {
        TrustError::Unreachable { .. } => refusal.map_or(Fault::Away, mirrors::fault_of),
        // A reader between two writes of a publisher sees this as well.
        TrustError::Missing { .. } => Fault::Away,
        _ => Fault::Untrusted,
    };
    let reason = chain(error);
    let fault = (fault, reason.as_str());
    mirrors.failed(repository, For::Metadata, fault, refusal, &mirrors::now());
}

/// The releases by what was kept, without asking anybody.
///
/// # Errors
/// Nothing was kept, or it has expired.
pub fn kept_releases(
    home: &Home,
    config: &Config,
    now: Timestamp,
) -> Result<Releases, TrustStoreError> {
    load(home, now)?
        .releases_for(&config.product, &config.platform, now, &mut Offline)
        .map_err(TrustStoreError::Stale)
}

/// Another refresh is waited for this long.
const LONGEST_REFRESH: Duration = Duration::from_mins(2);

/// Two refreshes at a time (the agent's and a person's `explain`) could put older files over newer ones.
fn lock(home: &Home) -> Result<fs::File, DiskError> {
    let path = home.run().join("trust.lock");
    let file = durable::append_to(&path)?;
    durable::lock_within(&file, LONGEST_REFRESH).on_disk("lock", &path)?;
    Ok(file)
}

type Found = (Releases, BTreeMap<Sha256, Reproduced>);

/// Asks one mirror. The outer error is ours and ends the refresh, the inner one is the mirror's.
fn ask(
    home: &Home,
    config: &Config,
    trust: &mut Trust,
    repository: &Repository,
    now: Timestamp,
) -> Result<Result<Found, TrustError>, TrustStoreError> {
    let mirror = match Mirror::by(repository, &config.fetch.proxy) {
        Ok(mirror) => mirror,
        Err(error) => {
            let path = repository.to_string();
            let source = Box::new(error);
            return Ok(Err(TrustError::Unreachable { path, retry: false, source }));
        }
    };
    let mut source = Roots { mirror: &mirror, seen: Vec::new() };
    let answer = trust
        .refresh(now, &mut source)
        .and_then(|()| trust.releases_for(&config.product, &config.platform, now, &mut source));
    TrustDir::new(home.trust()).persist(&trust.kept())?;
    handed_on::keep_roots(home, trust.root().version(), source.seen)?;
    let releases = match answer {
        Ok(releases) => releases,
        Err(error) => return Ok(Err(error)),
    };
    let mut reproduced = BTreeMap::new();
    // Anybody counting at all is enough to need the verdicts.
    if config.policy.needed(1) > 0 || config.policy.rebuilt != Rebuilt::Threshold(false) {
        let root = match instance::trusted_root(home, trust, now, &mut &mirror)? {
            Ok(root) => root,
            Err(error) => return Ok(Err(error)),
        };
        let running = Generation::current(home)?.map(|generation| generation.version);
        for target in &releases.verified {
            let release = target.release();
            if release.platform == config.platform && Some(&release.version) > running.as_ref() {
                // Without an answer nobody knows who reproduced it, which is not the same as nobody.
                let envelopes = match verify::envelopes(&mirror, release) {
                    Ok(envelopes) => envelopes,
                    Err(error) => return Ok(Err(unanswered(release, error))),
                };
                let passed = verdicts::counted(home, config, target, envelopes, root.as_ref())?;
                reproduced.insert(release.artifact.sha256, passed);
            }
        }
    }
    Ok(Ok((releases, reproduced)))
}

fn unanswered(release: &Release, error: NetError) -> TrustError {
    let path = layout::attestation_index(&release.artifact.sha256);
    TrustError::Unreachable { path, retry: error.retry(), source: Box::new(error) }
}

fn load(home: &Home, now: Timestamp) -> Result<Trust, TrustStoreError> {
    let pinned = home.pinned_root();
    let root = durable::read(&pinned, limit::ROOT)?.unwrap_or_default();
    let bad = |path: &Path| {
        let path = path.display().to_string();
        move |source| TrustStoreError::Root { path, source }
    };
    let dir = TrustDir::new(home.trust());
    let kept = dir.read()?;
    if kept.is_empty() {
        return Trust::from_root(&root).map_err(bad(&pinned));
    }
    Trust::restore(&root, &kept, now).map_err(bad(dir.path()))
}

/// A directory of trusted files: `root.json`, `timestamp.json`, … exactly as downloaded.
#[derive(Clone, Debug)]
pub struct TrustDir(PathBuf);

impl TrustDir {
    /// Names a directory, which must be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was kept.
    ///
    /// # Errors
    /// The disk fails, or a file is longer than metadata may be.
    pub fn read(&self) -> Result<Kept, DiskError> {
        let dir = self.path();
        let mut kept = Kept::new();
        for entry in fs::read_dir(dir).on_disk("read", dir)? {
            let name = entry.on_disk("read", dir)?.file_name();
            let Some(name) = name.to_str().filter(|n| n.ends_with(".json")) else { continue };
            if let Some(bytes) = durable::read(&dir.join(name), limit::METADATA)? {
                kept.insert(name.to_owned(), bytes);
            }
        }
        Ok(kept)
    }

    /// Keeps what is trusted now; what has not changed is not written again, and a bin that is not needed any more goes:
    /// there may be thousands. The snapshot still pins it.
    ///
    /// # Errors
    /// The disk fails. What was written before that is whole.
    pub fn persist(&self, kept: &Kept) -> Result<(), DiskError> {
        let before = self.read()?;
        let order = |name: &str| match name {
            "root.json" => 0,
            "snapshot.json" => 2,
            "timestamp.json" => 3,
            _ => 1,
        };
        let mut changed: Vec<_> =
            kept.iter().filter(|(name, bytes)| before.get(*name) != Some(bytes)).collect();
        changed.sort_by_key(|(name, _)| order(name));
        for (name, bytes) in changed {
            durable::write(&self.path().join(name), bytes)?;
        }
        for name in before.keys().filter(|name| !kept.contains_key(*name) && is_bin(name)) {
            let path = self.path().join(name);
            fs::remove_file(&path).on_disk("remove", &path)?;
        }
        Ok(())
    }
}

/// Whether a kept file is of a role below a product.
fn is_bin(name: &str) -> bool {
    name.strip_suffix(".json").and_then(product_of).is_some()
}

#[cfg(test)]
mod tests;
