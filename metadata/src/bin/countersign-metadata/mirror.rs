//! A copy of `public/` in an object store: everything that is missing there, `timestamp.json` last.
//!
//! What was published in the directory is the truth, and a copy that broke off is finished by copying again.

use std::fs;
use std::path::Path;

use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_metadata::authoring::Published;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::trust::{Authority, SignedFile, Source, SourceError};
use reqwest::Url;

use crate::repository::{Lock, Repository};
use crate::store::{Store, StoreUrl};
use crate::{disk, tell};

/// Where to copy what is published.
#[derive(clap::Args)]
pub(crate) struct To {
    /// Copy what is published to an object store as well; credentials are taken from AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY
    #[arg(long, value_name = "s3://BUCKET/PREFIX", requires = "endpoint")]
    to: Option<StoreUrl>,
    /// Address of the object store
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint: Option<Url>,
    /// Region of the object store
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
}

impl To {
    /// Copies, where that was asked for. Returns how many files.
    pub(crate) fn copy(
        &self,
        repository: &Repository,
        _lock: &Lock,
        out: Out,
    ) -> Result<Option<usize>, Failure> {
        let (Some(to), Some(endpoint)) = (&self.to, &self.endpoint) else { return Ok(None) };
        let mut store = Store::open(to, endpoint, &self.region)?;
        let progress = Progress::spinner("copying to the object store");
        let copied = copy(&repository.public(), &mut store)?;
        drop(progress);
        out.say(format!("Copied {copied} files to the object store, timestamp.json last."));
        Ok(Some(copied))
    }
}

fn copy(public: &Path, store: &mut Store) -> Result<usize, Failure> {
    let there = store.list()?;
    let timestamp = disk::read(&public.join(layout::TIMESTAMP), limit::TIMESTAMP)?;
    let ours = SignedFile::parse("timestamp", &timestamp)
        .or_fail(Exit::Input, "the published timestamp.json makes no sense")?;
    let theirs = store
        .fetch(layout::TIMESTAMP, limit::TIMESTAMP)
        .map_err(|e| Failure::caused(Exit::Network, "cannot read the store", &*e.into_cause()))?;
    if let Some(theirs) = &theirs
        && *theirs != timestamp
        && SignedFile::parse("timestamp", theirs).is_ok_and(|t| t.version() >= ours.version())
    {
        let sentence = "the store holds a timestamp that is not older than ours";
        return Err(Failure::new(Exit::Verdict, sentence)
            .hint("somebody else publishes there, or this directory was restored from a backup"));
    }

    let mut files = Vec::new();
    walk(public, "", &mut files)?;
    // What has a version or digest in its name never changes; a list only grows.
    files.retain(|(path, length)| path != layout::TIMESTAMP && there.get(path) != Some(length));
    let (roots, mut rest): (Vec<_>, Vec<_>) = files.into_iter().partition(|(p, _)| is_root(p));
    // A list of envelopes after the envelopes that it names.
    rest.sort_by_key(|(path, _)| path.ends_with("/index.json"));
    for (path, _) in &rest {
        store.put(path, &public.join(path))?;
    }
    let roots_last = follows_without(public, &roots, &ours);
    let put_roots =
        |store: &Store| roots.iter().try_for_each(|(path, _)| store.put(path, &public.join(path)));
    if !roots_last {
        put_roots(store)?;
    }
    // As a client will see it that comes after the last step.
    let mut view = View { store: &mut *store, public, timestamp: &timestamp };
    Published::read(&mut view)
        .map_err(|error| tell::authoring("the copy in the store is not whole", &error))?;
    let mut copied = rest.len() + roots.len();
    if theirs.as_ref() != Some(&timestamp) {
        store.put(layout::TIMESTAMP, &public.join(layout::TIMESTAMP))?;
        copied += 1;
    }
    if roots_last {
        put_roots(store)?;
    }
    Ok(copied)
}

/// Whether clients that have not seen the one new root can follow the new timestamp: then the root comes after it.
fn follows_without(public: &Path, roots: &[(String, u64)], timestamp: &SignedFile) -> bool {
    let [(path, _)] = roots else { return false };
    let version = path.strip_prefix("metadata/").and_then(|p| p.split('.').next()?.parse().ok());
    let Some(before) = version.and_then(|v: u64| v.checked_sub(1)).filter(|v| *v > 0) else {
        return false;
    };
    let old = disk::read(&public.join(layout::metadata("root", before)), limit::ROOT).ok();
    let old = old.and_then(|bytes| SignedFile::parse("root", &bytes).ok());
    let authority = old.and_then(|old| Authority::of_root(&old, "timestamp").ok());
    authority.is_some_and(|authority| authority.count(timestamp).is_ok())
}

fn is_root(path: &str) -> bool {
    path.starts_with("metadata/") && path.ends_with(".root.json")
}

/// Regular files, by their path below `public/`; what a dead process left half-written is none of them.
fn walk(dir: &Path, above: &str, found: &mut Vec<(String, u64)>) -> Result<(), Failure> {
    let what = || format!("cannot read {}", dir.display());
    for entry in fs::read_dir(dir).or_fail(Exit::Host, what())? {
        let entry = entry.or_fail(Exit::Host, what())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{above}{name}");
        let kind = entry.metadata().or_fail(Exit::Host, what())?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found)?;
        } else if kind.is_file() && !name.starts_with('.') {
            found.push((path, kind.len()));
        }
    }
    Ok(())
}

/// The store as it will be: its files, with the timestamp and roots that are put last.
struct View<'a> {
    store: &'a mut Store,
    public: &'a Path,
    timestamp: &'a [u8],
}

impl Source for View<'_> {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        match path {
            layout::TIMESTAMP => Ok(Some(self.timestamp.to_vec())),
            path if is_root(path) => disk::Directory(self.public.to_owned()).fetch(path, max_bytes),
            path => self.store.fetch(path, max_bytes),
        }
    }
}
