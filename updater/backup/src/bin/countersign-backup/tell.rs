//! Opens what every verb needs, and tells failures to people: exit code, sentence, hint.

use std::fs::TryLockError;
use std::path::Path;
use std::sync::Arc;

use countersign_backup::owner::Session;
use countersign_backup::{
    BackupError, OwnerError, Repository, Store, StoreError, owner, secret, store,
};
use countersign_console::{Exit, Failure};
use countersign_updater::config::Backup;
use countersign_updater::durable;
use countersign_updater::home::HomeError;
use countersign_updater::state::StateError;
use countersign_updater::{Config, Home};

/// A node with backups.
pub(crate) struct Node {
    pub(crate) home: Home,
    pub(crate) config: Config,
    pub(crate) backup: Backup,
}

/// Opens a node to write it.
pub(crate) fn node(path: &Path) -> Result<Node, Failure> {
    read(Home::open_to_write(path))
}

/// Opens a node to look at it.
pub(crate) fn look(path: &Path) -> Result<Node, Failure> {
    read(Home::open(path))
}

fn read(home: Result<Home, HomeError>) -> Result<Node, Failure> {
    let home = home.map_err(|error| {
        let failure = Failure::caused(Exit::Input, "cannot use the node directory", &error);
        match error {
            HomeError::NotOwner { owner, .. } => {
                failure.hint(format!("run it as its owner: sudo -u '{owner}' countersign-backup …"))
            }
            _ => failure.hint("countersign-updater install makes one"),
        }
    })?;
    let config = Config::load(&home).map_err(|error| {
        Failure::caused(Exit::Input, "the configuration cannot be used", &error)
    })?;
    let backup = config.backup.clone().ok_or_else(|| {
        let what = format!("{} names no store for backups", home.config_file().display());
        Failure::new(Exit::Input, what).hint(
            "write [backup] with to = \"/mnt/…\" or \"s3://BUCKET/PREFIX\", and password-file = \"/…\"",
        )
    })?;
    Ok(Node { home, config, backup })
}

impl Node {
    pub(crate) fn store(&self) -> Result<Arc<dyn Store>, BackupError> {
        Ok(Arc::from(store::open(&self.backup.to)?))
    }

    /// Begins a session that may write.
    pub(crate) fn claim(&self, store: &dyn Store) -> Result<Session, BackupError> {
        Ok(owner::claim(&self.home, store)?)
    }

    pub(crate) fn repository(
        &self,
        store: Arc<dyn Store>,
        session: Option<Session>,
    ) -> Result<Repository, BackupError> {
        let password = secret::password(&self.backup.password_file)?;
        Repository::open(store, &password, session)
    }

    /// The repository, to read.
    pub(crate) fn open(&self) -> Result<Repository, BackupError> {
        self.repository(self.store()?, None)
    }

    /// One of these programs writes at a time.
    pub(crate) fn lock(&self) -> Result<std::fs::File, Failure> {
        let path = self.home.run().join("backup.lock");
        let file = durable::append_to(&path).map_err(|error| failure(&error.into()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(Exit::Busy, "another countersign-backup is at work on this node")
                    .hint("countersign-backup status NODE says what it does"))
            }
            Err(TryLockError::Error(error)) => {
                Err(Failure::caused(Exit::Host, format!("cannot lock {}", path.display()), &error))
            }
        }
    }
}

/// What went wrong, to a person.
pub(crate) fn failure(error: &BackupError) -> Failure {
    let (exit, hint) = meaning(error);
    Failure::caused(exit, "no backup was made or used", error).hint(hint)
}

fn meaning(error: &BackupError) -> (Exit, &'static str) {
    match error {
        BackupError::Store(error) | BackupError::Owner(OwnerError::Store(error)) => store_(error),
        BackupError::Owner(error) => owner_(error),
        BackupError::Secret(_) => {
            (Exit::Secret, "put the password into that file, on one line, and close it: chmod 600")
        }
        BackupError::WrongPassword(_) => (
            Exit::Secret,
            "the file that backup.password-file names must hold the password of `init`; nobody can open it otherwise",
        ),
        BackupError::NoRepository(_) => {
            (Exit::Input, "is the disk mounted? If it is new: countersign-backup init NODE")
        }
        BackupError::Exists(_) => (
            Exit::Input,
            "countersign-backup now NODE uses it; from another node, takeover or restore",
        ),
        BackupError::Locked { .. } => {
            (Exit::Busy, "let that restic end; a lock that nobody renews counts for half an hour")
        }
        BackupError::Repository { .. } => {
            (Exit::Untrusted, "countersign-backup check --read-data NODE looks at all of it")
        }
        BackupError::Source { .. } => {
            (Exit::Host, "the state itself is not touched; the next snapshot is copied anew")
        }
        BackupError::SecretElsewhere { .. } => (
            Exit::Host,
            "remove that name, or let the release call it secret too, or say backup.secrets = true",
        ),
        BackupError::Empty(_) => (
            Exit::Verdict,
            "nothing was changed. Is it the right store? If it is empty indeed: restore --allow-empty",
        ),
        BackupError::NoSuchCopy { .. } => (Exit::Input, "countersign-backup list NODE shows them"),
        BackupError::NotANodes { .. } | BackupError::OtherProduct { .. } => {
            (Exit::Input, "countersign-backup list NODE shows them; nothing was changed")
        }
        BackupError::Occupied(_) => (
            Exit::Verdict,
            "a state that is there is never replaced; install a new node and restore onto that",
        ),
        BackupError::WithoutSecrets { .. } => (
            Exit::Verdict,
            "nothing was changed. With `--without-secrets` the rest is restored; you bring those yourself",
        ),
        BackupError::NoRelease { .. } => (
            Exit::Verdict,
            "nothing was changed; install a newer version that can migrate the state, and restore again",
        ),
        BackupError::Busy("an unfinished migration") => {
            (Exit::Verdict, "countersign-updater status NODE says what is under way")
        }
        BackupError::Busy(_) => {
            (Exit::Busy, "stop `countersign-updater run` and `supervise` for this node first")
        }
        BackupError::State(StateError::Space { .. }) => {
            (Exit::Host, "make space; nothing was changed")
        }
        BackupError::State(StateError::Different(_)) => {
            (Exit::Untrusted, "the copy is damaged; restore another: countersign-backup list NODE")
        }
        BackupError::Trust(error) if error.is_unreachable() => (
            Exit::Network,
            "the repository of releases is needed for the version that wrote the state",
        ),
        BackupError::Trust(_) => (Exit::Untrusted, "nothing was trusted and nothing was changed"),
        _ => (Exit::Host, "what runs is as it was"),
    }
}

fn store_(error: &StoreError) -> (Exit, &'static str) {
    match error {
        StoreError::Gone(_) => (
            Exit::Network,
            "mount the disk or make the directory or bucket; snapshots wait meanwhile",
        ),
        StoreError::Unreachable { .. } => (Exit::Network, "snapshots wait and are tried again"),
        StoreError::Refused { .. } => (
            Exit::Network,
            "check bucket, credentials, region and permissions; snapshots wait meanwhile",
        ),
        StoreError::Missing { .. } | StoreError::Length { .. } => (
            Exit::Untrusted,
            "the store lost or cut it; countersign-backup check NODE looks at all of it",
        ),
        StoreError::Credentials(_) => (
            Exit::Secret,
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file of mode 0600: backup.credentials",
        ),
    }
}

fn owner_(error: &OwnerError) -> (Exit, &'static str) {
    match error {
        OwnerError::Unmarked(_) => (
            Exit::Verdict,
            "if nobody else writes it: countersign-backup takeover NODE (or init, if it is new)",
        ),
        OwnerError::Damaged(_) => {
            (Exit::Untrusted, "if nobody else writes it: countersign-backup takeover NODE")
        }
        OwnerError::Disk(_) => (Exit::Host, "nothing was sent"),
        _ => (
            Exit::Verdict,
            "two writers would lose each other's copies. If the other is gone: countersign-backup takeover NODE",
        ),
    }
}
