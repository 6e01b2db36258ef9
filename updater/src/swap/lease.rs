//! The lease: of all nodes that share a lease file, one swaps at a time. It expires, and every grant has a number.
//!
//! ```text
//! {"fence":7,"holder":"/srv/node-a","until":{"wall":"…","boot":"…","boot_ms":…}}
//! ```
//!
//! A holder that died blocks nobody for longer than the lease. One that comes back late finds another number and
//! knows that its swap is not the only one any more.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durable::{self, DiskError, OnDisk};
use crate::machine::Moment;

/// How long another node's small write is waited for.
const LONGEST_LOCK: Duration = Duration::from_secs(2);

/// A lease that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("{holder} has the lease until {until}")]
    Taken {
        /// The other node.
        holder: String,
        /// When it expires.
        until: Moment,
    },
    /// The grant that this swap began with is not valid any more.
    #[error("the lease {path} was granted to somebody else meanwhile")]
    Lost {
        /// The lease file.
        path: PathBuf,
    },
    /// The file is not a lease.
    #[error("{path} is not a lease")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

#[derive(Default, Serialize, Deserialize)]
struct Grant {
    fence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Moment>,
}

/// The lease file, seen by one node.
#[derive(Clone, Debug)]
pub struct Lease {
    path: PathBuf,
    me: String,
    time: Duration,
}

impl Lease {
    /// The lease in `path`, for the node `me`; it lasts for `time` when it is not renewed.
    pub fn new(path: &Path, me: &str, time: Duration) -> Self {
        Self { path: path.to_owned(), me: me.to_owned(), time }
    }

    /// Who else holds it now; `None` if nobody.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn taken(&self, now: &Moment) -> Result<Option<String>, LeaseError> {
        match self.other(&self.read()?, now) {
            Err(LeaseError::Taken { holder, until }) => Ok(Some(format!("{holder} until {until}"))),
            _ => Ok(None),
        }
    }

    /// Takes it, or keeps what this node has, and returns the fencing number.
    ///
    /// # Errors
    /// Somebody else has it, or the disk fails.
    pub fn take(&self, now: &Moment) -> Result<u64, LeaseError> {
        let _exclusive = self.lock()?;
        let grant = self.read()?;
        self.other(&grant, now)?;
        let fence = if grant.holder.is_some() && grant.holder.as_ref() == Some(&self.me) {
            grant.fence
        } else {
            grant.fence + 1
        };
        self.write(&Grant {
            fence,
            holder: Some(self.me.clone()),
            until: Some(now.after(self.time)),
        })?;
        Ok(fence)
    }

    /// Keeps it for another such time. A lease that expired and was given to nobody else is kept too.
    ///
    /// # Errors
    /// It was given to somebody else, or the disk fails.
    pub fn renew(&self, fence: u64, now: &Moment) -> Result<(), LeaseError> {
        let _exclusive = self.lock()?;
        let grant = self.read()?;
        if grant.fence != fence || grant.holder.as_ref() != Some(&self.me) {
            return Err(LeaseError::Lost { path: self.path.clone() });
        }
        self.write(&Grant { until: Some(now.after(self.time)), ..grant })
    }

    /// Gives it back. Giving back what one does not have changes nothing.
    ///
    /// # Errors
    /// The disk fails.
    pub fn release(&self, fence: u64) -> Result<(), LeaseError> {
        let _exclusive = self.lock()?;
        let grant = self.read()?;
        if grant.fence != fence || grant.holder.as_ref() != Some(&self.me) {
            return Ok(());
        }
        self.write(&Grant { fence, holder: None, until: None })
    }

    fn other(&self, grant: &Grant, now: &Moment) -> Result<(), LeaseError> {
        match (&grant.holder, &grant.until) {
            (Some(holder), Some(until)) if *holder != self.me && !now.reached(until) => {
                Err(LeaseError::Taken { holder: holder.clone(), until: until.clone() })
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> Result<File, DiskError> {
        let path = self.path.with_extension("lock");
        let file = File::options().append(true).create(true).open(&path).on_disk("open", &path)?;
        // Held for the time of one small write; but whoever may open it may lock it.
        durable::lock_within(&file, LONGEST_LOCK).on_disk("lock", &path)?;
        Ok(file)
    }

    fn read(&self) -> Result<Grant, LeaseError> {
        match durable::read(&self.path, 1 << 16)? {
            None => Ok(Grant::default()),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| LeaseError::Damaged { path: self.path.clone(), source }),
        }
    }

    fn write(&self, grant: &Grant) -> Result<(), LeaseError> {
        let bytes = serde_json::to_vec(grant)
            .map_err(|source| LeaseError::Damaged { path: self.path.clone(), source })?;
        Ok(durable::write(&self.path, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        let wall = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
        Moment::new(wall, "b", seconds * 1000)
    }

    #[test]
    fn a_lock_that_somebody_else_keeps_for_ever_hangs_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease.json");
        let theirs = durable::append_to(&path.with_extension("lock")).unwrap();
        theirs.lock().unwrap();
        let lease = Lease::new(&path, "a", Duration::from_mins(5));
        let failed = lease.take(&at(0));
        assert!(
            matches!(failed, Err(LeaseError::Disk(e)) if e.kind() == std::io::ErrorKind::TimedOut)
        );
        drop(theirs);
        lease.take(&at(0)).unwrap();
    }

    #[test]
    fn one_holds_it_it_expires_and_the_late_one_is_fenced_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease.json");
        let time = Duration::from_mins(5);
        let (a, b) = (Lease::new(&path, "a", time), Lease::new(&path, "b", time));
        let first = a.take(&at(0)).unwrap();
        assert_eq!(a.take(&at(1)).unwrap(), first, "a restart keeps its grant");
        assert!(matches!(b.take(&at(100)), Err(LeaseError::Taken { .. })));
        assert!(b.taken(&at(100)).unwrap().is_some() && a.taken(&at(100)).unwrap().is_none());
        a.renew(first, &at(200)).unwrap();
        assert!(b.take(&at(400)).is_err());
        let second = b.take(&at(501)).unwrap();
        assert!(second > first);
        assert!(matches!(a.renew(first, &at(502)), Err(LeaseError::Lost { .. })));
        a.release(first).unwrap();
        assert!(matches!(a.take(&at(503)), Err(LeaseError::Taken { .. })));
        b.release(second).unwrap();
        assert!(a.take(&at(504)).unwrap() > second);
    }
}
