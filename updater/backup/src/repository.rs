//! A restic repository in a store: `rustic_core` behind one door.
//!
//! The library warns and goes on where a file cannot be read, and keeps its warnings for its log. So the door
//! remembers the first trouble of a session, and lets no snapshot be named after one: what has a name is whole.

mod door;

use std::sync::{Arc, Mutex, PoisonError};

use countersign_updater::backup::Local;
use jiff::Timestamp;
use rustic_core::repofile::SnapshotFile;
use rustic_core::{
    ConfigOptions, Credentials, KeyOptions, OpenStatus, RepositoryBackends, RepositoryOptions,
    RusticError, RusticResult,
};

use crate::BackupError;
use crate::owner::Session;
use crate::store::{Store, StoreError};
use door::Door;

/// Longest object that is read whole, in bytes: an index, or a pack.
const MAX_OBJECT: u64 = 1 << 30;
/// Packs grow with the repository up to this, in bytes: so much memory is needed for each of a few.
const MAX_PACK: &str = "64MiB";
/// Marks what this program wrote.
const TAG: &str = "countersign";
/// Marks a copy without what its release calls secret.
pub(crate) const WITHOUT_SECRETS: &str = "without-secrets";
/// A stock restic renews its lock every five minutes; one that was not renewed for so long is a dead one's.
const LOCK_LASTS: jiff::SignedDuration = jiff::SignedDuration::from_mins(30);

/// A snapshot in the store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Copy {
    /// Its name, as `restic snapshots` shows it.
    pub id: String,
    /// When the state was like that.
    pub at: Timestamp,
    /// The product.
    pub product: String,
    /// The version that wrote the state.
    pub version: String,
    /// Which snapshot of its node it was.
    pub snapshot: Option<u64>,
    /// Bytes, before deduplication.
    pub size: u64,
    /// What its release calls secret is not in it.
    pub without_secrets: bool,
    #[serde(skip)]
    made: Option<String>,
}

/// An open repository.
pub struct Repository {
    pub(crate) inner: rustic_core::Repository<OpenStatus>,
    pub(crate) trouble: Trouble,
    store: Arc<dyn Store>,
    session: Option<Session>,
}

/// The first trouble since it was last asked for.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<BackupError>>>);

impl Trouble {
    pub(crate) fn note(&self, error: BackupError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(crate) fn take(&self) -> Option<BackupError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

fn backends(
    store: &Arc<dyn Store>,
    session: Option<Session>,
    trouble: &Trouble,
) -> RepositoryBackends {
    let door = Door { store: Arc::clone(store), session, trouble: trouble.clone() };
    RepositoryBackends::new(Arc::new(door), None)
}

fn begin(
    store: &Arc<dyn Store>,
    session: Option<Session>,
    trouble: &Trouble,
) -> RusticResult<rustic_core::Repository<()>> {
    let mut options = RepositoryOptions::default();
    // A cache would keep the node's file names in the clear, elsewhere on its disk.
    options.no_cache = true;
    rustic_core::Repository::new(&options, &backends(store, session, trouble))
}

fn failed(
    store: &dyn Store,
    trouble: &Trouble,
    what: &'static str,
    error: &RusticError,
) -> BackupError {
    if let Some(told) = trouble.take() {
        return told;
    }
    let place = store.place().to_owned();
    if error.is_incorrect_password() {
        return BackupError::WrongPassword(place);
    }
    BackupError::Repository { what, place, reason: tidy(&error.display_log()) }
}

/// One line of what the library says.
pub(crate) fn tidy(text: &str) -> String {
    let text = text.strip_prefix("Error: ").unwrap_or(text);
    let mut words: Vec<_> = text.split_whitespace().collect();
    words.truncate(80);
    words.join(" ")
}

/// Whether there is a repository.
///
/// # Errors
/// The store fails.
pub fn exists(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.get("config", MAX_OBJECT)?.is_some())
}

impl Repository {
    /// Makes a repository in a store that has none.
    ///
    /// # Errors
    /// There is one, or the store fails.
    pub fn init(
        store: Arc<dyn Store>,
        password: &str,
        session: Session,
    ) -> Result<Self, BackupError> {
        if exists(&*store)? {
            return Err(BackupError::Exists(store.place().to_owned()));
        }
        let trouble = Trouble::default();
        let config = MAX_PACK.parse().map(|size| {
            let mut options = ConfigOptions::default();
            options.set_datapack_size_limit = Some(size);
            options
        });
        let made = begin(&store, Some(session.clone()), &trouble).and_then(|repository| {
            // A key's file is not encrypted: no names of hosts or people in it.
            let (password, key) = (Credentials::password(password), KeyOptions::default());
            repository.init(&password, &key, &config.unwrap_or_default())
        });
        let inner = made.map_err(|error| failed(&*store, &trouble, "make", &error))?;
        Ok(Self { inner, trouble, store, session: Some(session) })
    }

    /// Opens a repository: with a session to write, without one to read.
    ///
    /// # Errors
    /// There is none, the password is another, or the store fails.
    pub fn open(
        store: Arc<dyn Store>,
        password: &str,
        session: Option<Session>,
    ) -> Result<Self, BackupError> {
        if !exists(&*store)? {
            return Err(BackupError::NoRepository(store.place().to_owned()));
        }
        let trouble = Trouble::default();
        let opened = begin(&store, session.clone(), &trouble)
            .and_then(|repository| repository.open(&Credentials::password(password)));
        let inner = opened.map_err(|error| failed(&*store, &trouble, "open", &error))?;
        Ok(Self { inner, trouble, store, session })
    }

    /// The same once more, for what uses it up. Its key is known by now.
    pub(crate) fn again(&self) -> Result<rustic_core::Repository<OpenStatus>, BackupError> {
        let key = Credentials::Masterkey(self.inner.key());
        begin(&self.store, self.session.clone(), &self.trouble)
            .and_then(|repository| repository.open(&key))
            .map_err(|error| self.failed("open", &error))
    }

    /// Where it is.
    pub fn place(&self) -> &str {
        self.store.place()
    }

    /// What a failure of the library is to this program.
    pub(crate) fn failed(&self, what: &'static str, error: &RusticError) -> BackupError {
        failed(&*self.store, &self.trouble, what, error)
    }

    /// Fails while a stock restic has locked the repository: it might be removing what nothing names yet.
    ///
    /// # Errors
    /// It is locked, or the store fails.
    pub fn unlocked(&self) -> Result<(), BackupError> {
        let locks = self.store.list("locks")?;
        let since = locks.into_iter().filter_map(|lock| lock.modified).max();
        match since.filter(|since| Timestamp::now().duration_since(*since) < LOCK_LASTS) {
            Some(since) => Err(BackupError::Locked { place: self.place().to_owned(), since }),
            None => Ok(()),
        }
    }

    /// The snapshots of nodes in it, oldest first.
    ///
    /// # Errors
    /// The store fails, or one of them is damaged.
    pub fn copies(&self) -> Result<Vec<Copy>, BackupError> {
        let mut copies: Vec<_> = self.snapshots()?.iter().map(Copy::of).collect();
        copies.sort_by_key(|copy| copy.at);
        Ok(copies)
    }

    pub(crate) fn snapshots(&self) -> Result<Vec<SnapshotFile>, BackupError> {
        let all = self.inner.get_all_snapshots();
        let mut all = all.map_err(|error| self.failed("list", &error))?;
        all.retain(|snapshot| snapshot.tags.contains(TAG));
        Ok(all)
    }

    /// The copy of a snapshot of this disk, if it is there.
    ///
    /// # Errors
    /// As [`Repository::copies`].
    pub fn copy_of(&self, local: &Local) -> Result<Option<Copy>, BackupError> {
        let made = Some(local.made.to_string());
        let mut copies = self.copies()?.into_iter();
        Ok(copies.find(|copy| copy.made == made && copy.snapshot == Some(local.snapshot)))
    }
}

/// What is said about a snapshot in the store.
pub(crate) fn tags(local: &Local, version: &str) -> [String; 4] {
    [
        TAG.to_owned(),
        format!("version={version}"),
        format!("snapshot={}", local.snapshot),
        format!("made={}", local.made),
    ]
}

impl Copy {
    pub(crate) fn of(file: &SnapshotFile) -> Self {
        let tag = |name: &str| {
            let start = format!("{name}=");
            file.tags.iter().find_map(|tag| Some(tag.strip_prefix(&start)?.to_owned()))
        };
        Self {
            id: file.id.to_hex().as_str().to_owned(),
            at: file.time.timestamp(),
            product: file.label.clone(),
            version: tag("version").unwrap_or_default(),
            snapshot: tag("snapshot").and_then(|number| number.parse().ok()),
            size: file.summary.as_ref().map_or(0, |summary| summary.total_bytes_processed),
            without_secrets: file.tags.contains(WITHOUT_SECRETS),
            made: tag("made"),
        }
    }
}
