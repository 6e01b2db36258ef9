//! Data directories: made here, never removed. Each is written by one node, copy or migration at a time.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use countersign_sandbox::subvolume;

use crate::Home;
use crate::durable::{self, DiskError, OnDisk};
use crate::supervise::{SuperviseError, lock_state};

/// Makes an empty directory for data (mode 0700), as a subvolume where the file system has them: then one moment of it
/// is had at once. One that is there stays as it is.
///
/// # Errors
/// The disk fails.
pub fn make(path: &Path) -> Result<(), DiskError> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return durable::make_dir(path);
    };
    let into = File::open(above).on_disk("read", above)?;
    let made = !path.exists()
        && subvolume::is_on_btrfs(&into).on_disk("read", above)?
        && subvolume::create(&into, name).is_ok();
    if made {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(path, private).on_disk("close to others", path)?;
        return durable::sync_dir(above);
    }
    durable::make_dir(path)
}

/// That nobody else writes a node's state: neither through its node directory, nor through another one that has the
/// same data directory in its place. It ends with the last process that has it.
#[derive(Debug)]
pub struct Alone {
    node: File,
    data: File,
}

impl Alone {
    /// Locks data directory `data` of a node.
    ///
    /// # Errors
    /// Somebody else has it, or the disk fails.
    pub fn with(home: &Home, data: &Path) -> Result<Self, SuperviseError> {
        let node = lock_state(home)?;
        let dir = File::open(data).on_disk("open", data)?;
        match dir.try_lock() {
            Ok(()) => Ok(Self { node, data: dir }),
            Err(fs::TryLockError::WouldBlock) => Err(SuperviseError::StateInUse(data.to_owned())),
            Err(fs::TryLockError::Error(source)) => {
                Err(SuperviseError::System { what: "lock the data directory", source })
            }
        }
    }

    /// [`Alone::with`], but waits for whoever has it: a command that outlived its agent comes to its end.
    ///
    /// # Errors
    /// As [`Alone::with`], for all of `limit`.
    pub fn within(home: &Home, data: &Path, limit: Duration) -> Result<Self, SuperviseError> {
        let began = std::time::Instant::now();
        loop {
            match Self::with(home, data) {
                Err(SuperviseError::StateInUse(_)) if began.elapsed() < limit => breathe(),
                result => return result,
            }
        }
    }

    /// The same locks once more, for whoever may write beside the one that has them.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn again(&self) -> Result<Self, SuperviseError> {
        let [node, data] = self.handles()?;
        Ok(Self::from_handles(node.into(), data.into()))
    }

    /// Locks that an earlier program of this process took.
    pub(crate) fn from_handles(node: File, data: File) -> Self {
        Self { node, data }
    }

    /// For a process that is started: it has the locks for as long as it lives.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn handles(&self) -> Result<[std::os::fd::OwnedFd; 2], SuperviseError> {
        let pass = |file: &File| {
            file.try_clone()
                .map(Into::into)
                .map_err(|source| SuperviseError::System { what: "pass the state's lock", source })
        };
        Ok([pass(&self.node)?, pass(&self.data)?])
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nobody tells when a lock is free; there is a deadline"
)]
fn breathe() {
    std::thread::sleep(Duration::from_millis(20));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_data_directory_under_two_nodes_is_written_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| Home::create(&dir.path().join(name)).unwrap());
        make(&one.state(1)).unwrap();
        make(&one.state(1)).unwrap();
        std::os::unix::fs::symlink(one.state(1), two.state(1)).unwrap();
        let first = Alone::with(&one, &one.state(1)).unwrap();
        assert!(matches!(Alone::with(&one, &one.state(1)), Err(SuperviseError::StateInUse(_))));
        let refused = Alone::with(&two, &two.state(1)).unwrap_err();
        assert!(refused.to_string().contains("state/1"), "{refused}");
        // A process that was started with them has them, whoever ends before.
        let inherited = first.handles().unwrap();
        drop(first);
        let short = Duration::from_millis(50);
        assert!(Alone::within(&two, &two.state(1), short).is_err());
        drop(inherited);
        Alone::with(&two, &two.state(1)).unwrap();
    }
}
