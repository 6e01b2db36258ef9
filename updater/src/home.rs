//! The node directory: every path that the updater owns, as a method.
//!
//! ```text
//! NODE/countersign-updater.toml   what the operator wants, and below NODE/countersign-updater.d/ what replaces parts of it
//! NODE/root.json                  the root pinned at install
//! NODE/seed                       32 random bytes, mode 0600: the hold-off is drawn from it
//! NODE/mirrors.json               which mirror failed or asked to be left alone, and until when
//! NODE/trust/                     TUF files, exactly as downloaded
//! NODE/cache/SHA256               an artifact as it was downloaded, kept for other nodes
//! NODE/store/SHA256/              a staged release: release.json, layout.json.zst, tree/
//! NODE/state/K/                   data directory number K: never deleted, never overwritten by the updater
//! NODE/generations/N/             generation.json: which binary runs on which state, and how
//! NODE/current -> generations/N   replaced by one rename: the commit point of a swap
//! NODE/snapshots/N/  NODE/shadow/ copies of state: for the way back, and to try a release on
//! NODE/reports/SHA256.json        what a release did in the shadow
//! NODE/journal.jsonl              every step that was taken
//! NODE/backup.json                which snapshots wait for the off-machine store
//! NODE/run/  NODE/log/            sockets and locks; the node's output
//! ```
//!
//! One user owns all of it, and only that user may write it. What holds a lock or private data is closed to others
//! (mode 0700): whoever may open a file may lock it.

mod owner;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;

use crate::durable::{self, DiskError, OnDisk};

/// An installed node directory.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

/// The node's secret seed. It never leaves the node.
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed for a simulated node.
    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for drawing from.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A directory that cannot be a node's home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Nothing is installed there.
    #[error("{0} is not a node directory (it has no countersign-updater.toml)")]
    NotInstalled(PathBuf),
    /// An `install` has begun there.
    #[error("an install has begun in {0} and has not finished")]
    Unfinished(PathBuf),
    /// Something is there already.
    #[error("{0} exists and is not empty")]
    Occupied(PathBuf),
    /// A node is installed there already.
    #[error("a node is already installed in {0}")]
    Installed(PathBuf),
    /// Commands and JSON need a path that is text.
    #[error("the path {0:?} is not UTF-8")]
    NotText(PathBuf),
    /// Somebody else's: what this user wrote there, its owner could not write any more.
    #[error("{path} belongs to {owner}, and this is {me}")]
    NotOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner, as `sudo -u` wants it: a name, or `#` and the number of a user without one.
        owner: String,
        /// Who runs this.
        me: String,
    },
    /// The seed is not 32 bytes.
    #[error("{0} does not hold 32 bytes")]
    BadSeed(PathBuf),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

const FOLDERS: [&str; 9] =
    ["trust", "store", "state", "generations", "snapshots", "shadow", "reports", "run", "log"];

/// Closed to all but their owner: they hold locks, copies of the state, and what the node and its releases say.
const PRIVATE: [&str; 5] = ["run", "log", "reports", "snapshots", "shadow"];

impl Home {
    /// Opens an installed node directory to look at it.
    ///
    /// # Errors
    /// It is not one.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let this = match fs::canonicalize(dir) {
            Ok(dir) => Self(dir),
            Err(_) => return Err(HomeError::NotInstalled(dir.to_owned())),
        };
        if this.0.to_str().is_none() {
            return Err(HomeError::NotText(this.0));
        }
        if !this.config_file().is_file() {
            let dir = dir.to_owned();
            return Err(if this.0.join(UNFINISHED).is_file() {
                HomeError::Unfinished(dir)
            } else {
                HomeError::NotInstalled(dir)
            });
        }
        Ok(this)
    }

    /// Opens an installed node directory to write it: as its owner, and with everything private closed to others, as
    /// an earlier version may have left it open.
    ///
    /// # Errors
    /// It is not one, or it or a private folder belongs to another user. Nothing has then been touched.
    pub fn open_to_write(dir: &Path) -> Result<Self, HomeError> {
        let this = Self::open(dir)?;
        owner::only(&this.0)?;
        owner::close(PRIVATE.iter().map(|name| this.0.join(name)))?;
        Ok(this)
    }

    /// Makes the folders of a new node in `dir`, which is missing, empty, or the leftover of an `install` that
    /// did not finish. The configuration file is what makes it a node: `install` writes it last.
    ///
    /// # Errors
    /// Something that is not ours is there. Nothing has then been touched.
    pub fn create(dir: &Path) -> Result<Self, HomeError> {
        if !dir.is_dir() {
            let above = dir.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(above).on_disk("make", above)?;
            durable::make_dir(dir)?;
        }
        let dir = fs::canonicalize(dir).on_disk("open", dir)?;
        if dir.to_str().is_none() {
            return Err(HomeError::NotText(dir));
        }
        let this = Self(dir);
        if this.config_file().exists() {
            return Err(HomeError::Installed(this.0));
        }
        let unfinished = this.0.join(UNFINISHED);
        let mut entries = fs::read_dir(&this.0).on_disk("read", &this.0)?;
        if entries.next().is_some() && !unfinished.is_file() {
            return Err(HomeError::Occupied(this.0));
        }
        owner::only(&this.0)?;
        durable::write(&unfinished, b"countersign-updater install has not finished here\n")?;
        for folder in FOLDERS {
            durable::make_dir(&this.0.join(folder))?;
        }
        if this.seed_unread()?.is_none() {
            let mut seed = [0; 32];
            let urandom = Path::new("/dev/urandom");
            File::open(urandom)
                .and_then(|mut file| file.read_exact(&mut seed))
                .on_disk("read", urandom)?;
            durable::write_with_mode(&this.seed_file(), &seed, 0o600)?;
        }
        Ok(this)
    }

    /// Writes the configuration: from now on [`Home::open`] finds a node here.
    ///
    /// # Errors
    /// The disk fails.
    pub fn finish(&self, config: &str) -> Result<(), HomeError> {
        durable::write(&self.config_file(), config.as_bytes())?;
        let unfinished = self.0.join(UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DiskError::new("remove", &unfinished, error).into())
            }
            _ => Ok(()),
        }
    }

    /// The directory itself: absolute, without links, and UTF-8.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path as text, for commands.
    pub fn text(&self, path: &Path) -> String {
        path.to_string_lossy().into_owned()
    }

    /// The operator's configuration.
    pub fn config_file(&self) -> PathBuf {
        self.0.join("countersign-updater.toml")
    }

    /// Drop-ins: files whose settings replace those of [`Home::config_file`].
    pub fn config_drop_ins(&self) -> PathBuf {
        self.0.join("countersign-updater.d")
    }

    /// The root pinned at install.
    pub fn pinned_root(&self) -> PathBuf {
        self.0.join("root.json")
    }

    fn seed_file(&self) -> PathBuf {
        self.0.join("seed")
    }

    /// Reads the secret seed.
    ///
    /// # Errors
    /// It is not there or not 32 bytes.
    pub fn seed(&self) -> Result<Seed, HomeError> {
        self.seed_unread()?.map(Seed).ok_or_else(|| HomeError::BadSeed(self.seed_file()))
    }

    fn seed_unread(&self) -> Result<Option<[u8; 32]>, HomeError> {
        let path = self.seed_file();
        match durable::read(&path, 32)? {
            None => Ok(None),
            Some(bytes) => match bytes.try_into() {
                Ok(seed) => Ok(Some(seed)),
                Err(_) => Err(HomeError::BadSeed(path)),
            },
        }
    }

    /// What is known of the mirrors.
    pub fn mirrors(&self) -> PathBuf {
        self.0.join("mirrors.json")
    }

    /// TUF files, exactly as downloaded.
    pub fn trust(&self) -> PathBuf {
        self.0.join("trust")
    }

    /// Artifacts as they were downloaded, kept for other nodes.
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// Staged releases.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// One staged release, by the digest of its canonical tar.
    pub fn stored(&self, artifact: &Sha256) -> PathBuf {
        self.store().join(artifact.to_string())
    }

    /// All data directories.
    pub fn states(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Data directory number `number`.
    pub fn state(&self, number: u64) -> PathBuf {
        self.states().join(number.to_string())
    }

    /// All generations.
    pub fn generations(&self) -> PathBuf {
        self.0.join("generations")
    }

    /// The directory of one generation.
    pub fn generation(&self, number: u64) -> PathBuf {
        self.generations().join(number.to_string())
    }

    /// The link to the generation that runs.
    pub fn current(&self) -> PathBuf {
        self.0.join("current")
    }

    /// All snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// The snapshot taken before generation `number` was left.
    pub fn snapshot(&self, number: u64) -> PathBuf {
        self.snapshots().join(number.to_string())
    }

    /// Scratch space of shadows: may be emptied whenever none runs.
    pub fn shadow(&self) -> PathBuf {
        self.0.join("shadow")
    }

    /// All shadow reports.
    pub fn reports(&self) -> PathBuf {
        self.0.join("reports")
    }

    /// What a release did in the shadow.
    pub fn report(&self, artifact: &Sha256) -> PathBuf {
        self.reports().join(format!("{artifact}.json"))
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    /// Sockets and locks.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Where the supervisor listens.
    pub fn supervisor_socket(&self) -> PathBuf {
        self.run().join("supervisor.sock")
    }

    /// Where the agent listens to the tee.
    pub fn mirror_socket(&self) -> PathBuf {
        self.run().join("mirror.sock")
    }

    /// Held by the one agent of this node.
    pub fn agent_lock(&self) -> PathBuf {
        self.run().join("agent.lock")
    }

    /// Held by whoever may write the state.
    pub fn state_lock(&self) -> PathBuf {
        self.run().join("state.lock")
    }

    /// Logs.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The node's own output.
    pub fn node_log(&self) -> PathBuf {
        self.log().join("node.log")
    }
}

/// Marks a directory in which an install began, so that it can be begun again.
const UNFINISHED: &str = ".install-unfinished";

#[cfg(test)]
mod tests;
