//! What this node can hand on to others: a part of the repository, re-created from what it verified itself.
//!
//! ```text
//! NODE/trust/         metadata exactly as downloaded, roots, verdicts
//! NODE/cache/SHA256   artifacts exactly as downloaded, by the digest of the file as served
//! ```
//!
//! Names with versions and digests are made again as the publisher made them. Nothing here is a proof: whoever takes it
//! verifies it, as from any mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;
use jiff::Timestamp;

use crate::durable::{self, DiskError, OnDisk};
use crate::fetch::Fetched;
use crate::http::Body;
use crate::trust_store::{self, TrustStoreError};
use crate::{Config, Home};

/// Keeps a downloaded artifact, and as many before it as the configuration says.
///
/// # Errors
/// The disk fails.
pub fn keep(home: &Home, config: &Config, fetched: &Fetched) -> Result<(), DiskError> {
    let bound = config.keep_artifacts as usize;
    if bound == 0 || fetched.base().is_some() {
        return Ok(());
    }
    let dir = home.cache();
    durable::make_dir(&dir)?;
    let path = dir.join(fetched.target().sha256().to_string());
    match fs::hard_link(fetched.path(), &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(DiskError::new("link", &path, error));
        }
        _ => durable::sync_dir(&dir)?,
    }
    let mut kept = Vec::new();
    for entry in fs::read_dir(&dir).on_disk("read", &dir)? {
        let other = entry.on_disk("read", &dir)?.path();
        if other != path {
            kept.push((fs::metadata(&other).and_then(|meta| meta.modified()).ok(), other));
        }
    }
    kept.sort();
    for (_, old) in kept.iter().rev().skip(bound - 1) {
        fs::remove_file(old).on_disk("remove", old)?;
    }
    Ok(())
}

/// Looks at the disk again after this long.
const FRESH: Duration = Duration::from_secs(2);

/// Everything that a node can hand on.
pub struct Shelf {
    home: Home,
    config: Config,
    seen: Mutex<Option<(Instant, Arc<Contents>)>>,
    /// Files whose bytes were hashed in this process: device, number, size and time of change.
    hashed: Mutex<BTreeSet<[i64; 5]>>,
}

#[derive(Default)]
struct Contents {
    files: BTreeMap<String, Vec<u8>>,
    artifacts: BTreeMap<String, (Sha256, PathBuf)>,
}

impl Shelf {
    /// What the node in `home` has.
    pub fn new(home: Home, config: Config) -> Self {
        let (seen, hashed) = (Mutex::default(), Mutex::default());
        Self { home, config, seen, hashed }
    }

    /// The file at a path of the repository; `None`: it is not here.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub fn get(&self, path: &str) -> Result<Option<Body>, TrustStoreError> {
        let contents = self.contents()?;
        if let Some(bytes) = contents.files.get(path) {
            return Ok(Some(Body::Bytes(bytes.clone())));
        }
        match contents.artifacts.get(path) {
            Some((digest, file)) => Ok(self.open(file, digest).on_disk("read", file)?),
            None => Ok(None),
        }
    }

    /// How many artifacts are here.
    ///
    /// # Errors
    /// As [`Shelf::get`].
    pub fn artifacts(&self) -> Result<usize, TrustStoreError> {
        Ok(self.contents()?.artifacts.len())
    }

    fn contents(&self) -> Result<Arc<Contents>, TrustStoreError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, contents)) = &*seen
            && when.elapsed() < FRESH
        {
            return Ok(Arc::clone(contents));
        }
        let kept = trust_store::handed_on(&self.home, &self.config, Timestamp::now())?;
        let mut artifacts = BTreeMap::new();
        for target in &kept.releases.verified {
            let path = self.home.cache().join(target.sha256().to_string());
            if fs::metadata(&path).is_ok_and(|meta| meta.len() == target.length()) {
                artifacts.insert(target.served_at(), (*target.sha256(), path));
            }
        }
        let contents = Arc::new(Contents { files: kept.files, artifacts });
        *seen = Some((Instant::now(), Arc::clone(&contents)));
        Ok(contents)
    }

    /// Opens a file whose bytes are what its name says.
    fn open(&self, path: &Path, digest: &Sha256) -> io::Result<Option<Body>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        let number = u64::cast_signed;
        let id = [
            number(meta.dev()),
            number(meta.ino()),
            number(meta.size()),
            meta.ctime(),
            meta.ctime_nsec(),
        ];
        let known = |set: &BTreeSet<_>| set.contains(&id);
        if !known(&self.hashed.lock().unwrap_or_else(PoisonError::into_inner)) {
            let mut hasher = Hasher::default();
            let mut buffer = vec![0; 128 << 10];
            loop {
                match io::Read::read(&mut file, &mut buffer)? {
                    0 => break,
                    read => hasher.update(&buffer[..read]),
                }
            }
            if hasher.finish().0 != *digest {
                return Ok(None);
            }
            self.hashed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            file.rewind()?;
        }
        Ok(Some(Body::File(file, meta.len())))
    }
}
