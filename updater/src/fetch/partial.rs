//! A download that may have begun in an earlier life, and who gave its bytes.
//!
//! ```text
//! NODE/store/.partial-SHA256            the bytes so far; a claim until they are hashed to their end
//! NODE/store/.partial-SHA256.from.json  the mirrors that gave them
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::durable::{self, DiskError, OnDisk};
use crate::net::Repository;

const PREFIX: &str = ".partial-";
const MAX_FROM: u64 = 64 << 10;
const CHUNK: usize = 256 << 10;

/// A mirror that gave some of the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Giver {
    mirror: String,
    /// What it called the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

pub(super) struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
    hasher: Hasher,
    givers: Vec<Giver>,
}

impl Partial {
    /// Opens what is there of the file with this digest, and hashes it; `progress` hears of its bytes.
    pub(super) fn open(
        home: &Home,
        digest: &Sha256,
        max: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, DiskError> {
        let path = path(home, digest);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .on_disk("open", &path)?;
        let givers = durable::read(&from(&path), MAX_FROM).ok().flatten();
        let givers = givers.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut this = Self {
            file,
            length: 0,
            hasher: Hasher::default(),
            givers: givers.unwrap_or_default(),
            path,
        };
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = this.file.read(&mut buffer).on_disk("read", &this.path)?;
            this.hasher.update(&buffer[..read]);
            this.length += read as u64;
            progress(read as u64);
            if this.length > max {
                this.clear()?;
                return Ok(this);
            }
            if read == 0 {
                return Ok(this);
            }
        }
    }

    /// Bytes that are there.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of the bytes that are there.
    pub(super) fn digest(&self) -> Sha256 {
        self.hasher.clone().finish().0
    }

    /// What this mirror called the file, if it gave the bytes that are there.
    pub(super) fn etag(&self, mirror: &Repository) -> Option<String> {
        let name = mirror.to_string();
        self.givers.iter().find(|giver| giver.mirror == name)?.etag.clone()
    }

    /// Mirrors other than this one that gave some of the bytes.
    pub(super) fn others(&self, mirror: &Repository) -> Vec<String> {
        let name = mirror.to_string();
        let others = self.givers.iter().filter(|giver| giver.mirror != name);
        others.map(|giver| giver.mirror.clone()).collect()
    }

    /// What comes next comes from this mirror.
    pub(super) fn comes_from(
        &mut self,
        mirror: &Repository,
        etag: Option<&str>,
    ) -> Result<(), DiskError> {
        let giver = Giver { mirror: mirror.to_string(), etag: etag.map(str::to_owned) };
        if self.givers.contains(&giver) {
            return Ok(());
        }
        self.givers.retain(|other| other.mirror != giver.mirror);
        self.givers.push(giver);
        // Not synced: after a power cut it may be gone or torn, and then nobody is known.
        let path = from(&self.path);
        let json = serde_json::to_vec(&self.givers).map_err(io::Error::from);
        json.and_then(|json| fs::write(&path, json)).on_disk("write", &path)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(bytes).on_disk("write", &self.path)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets the bytes and who gave them.
    pub(super) fn clear(&mut self) -> Result<(), DiskError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .on_disk("write", &self.path)?;
        self.length = 0;
        self.hasher = Hasher::default();
        self.givers.clear();
        remove(&from(&self.path))
    }

    /// The bytes were hashed to the digest: what is left is the file.
    pub(super) fn complete(self) -> Result<(File, PathBuf), DiskError> {
        remove(&from(&self.path))?;
        Ok((self.file, self.path))
    }

    /// Removes an empty one: it holds nothing to go on from.
    pub(super) fn drop_if_empty(self) -> Result<(), DiskError> {
        if self.length == 0 { discard(&self.path) } else { Ok(()) }
    }
}

/// Where the file with this digest is gathered.
pub(super) fn path(home: &Home, digest: &Sha256) -> PathBuf {
    home.store().join(format!("{PREFIX}{digest}"))
}

/// Removes what is left of other downloads: of a delta that was no good, of releases that were overtaken.
pub(super) fn sweep(home: &Home, keep: &Path) -> Result<(), DiskError> {
    let store = home.store();
    for entry in fs::read_dir(&store).on_disk("read", &store)? {
        let entry = entry.on_disk("read", &store)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) && path != keep {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a download and what is known about it.
pub(crate) fn discard(path: &Path) -> Result<(), DiskError> {
    remove(path)?;
    remove(&from(path))
}

fn from(path: &Path) -> PathBuf {
    path.with_added_extension("from.json")
}

fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("remove", path, error))
        }
        _ => Ok(()),
    }
}
