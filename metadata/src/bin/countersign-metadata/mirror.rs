//! A copy of `public/` in an object store: everything that is missing there, `timestamp.json` last.
//!
//! What was published in the directory is the truth, and a copy that broke off is finished by copying again. Versioned
//! metadata is put only where nothing is yet, and the timestamp only over the one that was read at the beginning: of two
//! publishers at once the second is told, where the store knows conditional writes.

use std::fs;
use std::path::Path;

use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_metadata::authoring::Published;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::trust::{Authority, SignedFile, Source, SourceError};
use reqwest::Url;

use crate::repository::{Lock, Repository};
use crate::store::{Outcome, PartSize, Store, StoreUrl, Tagged, When};
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
    /// Files longer than this are uploaded in parts of this size
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    part_size: PartSize,
    /// Replace what another publisher, who died, has left half-done in the store
    #[arg(long, requires = "to")]
    take_over: bool,
}

const TAKE_OVER: &str =
    "if another publisher died there, and nobody publishes to it now, say --take-over";

/// What was copied.
pub(crate) struct Copied {
    pub(crate) files: usize,
    /// Whether the store refuses the second of two publishers at once.
    pub(crate) guarded: bool,
}

impl To {
    /// Copies, where that was asked for.
    pub(crate) fn copy(
        &self,
        repository: &Repository,
        _lock: &Lock,
        out: Out,
    ) -> Result<Option<Copied>, Failure> {
        let (Some(to), Some(endpoint)) = (&self.to, &self.endpoint) else { return Ok(None) };
        let mut store = Store::open(to, endpoint, &self.region, self.part_size)?;
        let progress = Progress::spinner("copying to the object store");
        let copied = copy(&repository.public(), &mut store, self.take_over)?;
        drop(progress);
        let Copied { files, guarded } = copied;
        out.say(format!("Copied {files} files to the object store, timestamp.json last."));
        if !guarded {
            out.say(
                "This store knows no conditional writes: two publishers at once are not told apart there. \
                 Publish to it from one place alone.",
            );
        }
        Ok(Some(copied))
    }
}

fn copy(public: &Path, store: &mut Store, take_over: bool) -> Result<Copied, Failure> {
    let there = store.list()?;
    let timestamp = disk::read(&public.join(layout::TIMESTAMP), limit::TIMESTAMP)?;
    let ours = SignedFile::parse("timestamp", &timestamp)
        .or_fail(Exit::Input, "the published timestamp.json makes no sense")?;
    let theirs = store.get_tagged(layout::TIMESTAMP, limit::TIMESTAMP)?;
    if let Some(Tagged { bytes, .. }) = &theirs
        && *bytes != timestamp
        && SignedFile::parse("timestamp", bytes).is_ok_and(|t| t.version() >= ours.version())
    {
        let sentence = "the store holds a timestamp that is not older than ours";
        return Err(Failure::new(Exit::Verdict, sentence)
            .hint("somebody else publishes there, or this directory was restored from a backup"));
    }

    let mut files = Vec::new();
    walk(public, "", &mut files)?;
    // What has a version or digest in its name never changes; a list only grows.
    files.retain(|(path, length)| {
        let again = take_over && is_version(path);
        path != layout::TIMESTAMP && (again || there.get(path) != Some(length))
    });
    let (roots, mut rest): (Vec<_>, Vec<_>) = files.into_iter().partition(|(p, _)| is_root(p));
    // The snapshot first: of two publishers at once one cannot put it, and stops before it has put anything else. A list
    // of envelopes after the envelopes that it names.
    rest.sort_by_key(|(path, _)| {
        (path.ends_with("/index.json"), !path.ends_with(".snapshot.json"), path.clone())
    });
    let mut putting = Putting { store, public, take_over, guarded: true };
    for (path, _) in &rest {
        putting.put(path)?;
    }
    let roots_last = follows_without(public, &roots, &ours);
    let put_roots =
        |putting: &mut Putting<'_>| roots.iter().try_for_each(|(path, _)| putting.put(path));
    if !roots_last {
        put_roots(&mut putting)?;
    }
    // As a client will see it that comes after the last step.
    let mut view = View { store: &mut *putting.store, public, timestamp: &timestamp };
    Published::read(&mut view)
        .map_err(|error| tell::authoring("the copy in the store is not whole", &error))
        .map_err(|failure| failure.hint(TAKE_OVER))?;
    let mut files = rest.len() + roots.len();
    if theirs.as_ref().map(|there| &there.bytes) != Some(&timestamp) {
        putting.timestamp(&timestamp, theirs.and_then(|there| there.tag))?;
        files += 1;
    }
    if roots_last {
        put_roots(&mut putting)?;
    }
    Ok(Copied { files, guarded: putting.guarded })
}

/// Puts files so that nothing of another publisher's is overwritten, as far as the store can tell.
struct Putting<'a> {
    store: &'a mut Store,
    public: &'a Path,
    take_over: bool,
    guarded: bool,
}

impl Putting<'_> {
    fn put(&mut self, path: &str) -> Result<(), Failure> {
        let file = self.public.join(path);
        if !is_version(path) || self.take_over || !self.guarded {
            return self.store.put(path, &file);
        }
        let bytes = disk::read(&file, limit::METADATA)?;
        match self.store.put_when(path, &bytes, &When::Absent)? {
            Outcome::Put => Ok(()),
            Outcome::Unsupported => {
                self.guarded = false;
                self.store.put(path, &file)
            }
            Outcome::Refused => self.is_ours(path, &bytes),
        }
    }

    /// An answer may get lost, so what is there may be what was put.
    fn is_ours(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let there = self.store.get_tagged(path, limit::METADATA)?;
        if there.is_some_and(|there| there.bytes == bytes) {
            return Ok(());
        }
        let sentence = format!("somebody else publishes to the store: its {path} is not ours");
        Err(Failure::new(Exit::Busy, sentence).hint(TAKE_OVER))
    }

    /// The commit point, where nobody was faster.
    fn timestamp(&mut self, timestamp: &[u8], tag: Option<String>) -> Result<(), Failure> {
        let path = layout::TIMESTAMP;
        let when = tag.map_or(When::Absent, When::Is);
        if self.guarded && self.keeps_conditions(&when)? {
            return match self.store.put_when(path, timestamp, &when)? {
                Outcome::Put => Ok(()),
                _ => self.is_ours(path, timestamp),
            };
        }
        self.guarded = false;
        self.store.put(path, &self.public.join(path))
    }

    /// Whether the store looks at conditions, or passes them over in silence: a root is put once more, the same bytes, on
    /// a condition that does not hold.
    fn keeps_conditions(&self, when: &When) -> Result<bool, Failure> {
        let path = layout::metadata("root", 1);
        let bytes = disk::read(&self.public.join(&path), limit::ROOT)?;
        let never = match when {
            When::Absent => When::Absent,
            When::Is(_) => When::Is("\"00000000000000000000000000000000\"".to_owned()),
        };
        Ok(self.store.put_when(&path, &bytes, &never)? == Outcome::Refused)
    }
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

/// Whether a file is named by a version: what is named by its digest is the same whoever puts it.
fn is_version(path: &str) -> bool {
    path.starts_with("metadata/") || path.starts_with("signatures/")
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
