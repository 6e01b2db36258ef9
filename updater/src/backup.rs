//! `NODE/backup.json`: which snapshots wait for the off-machine store, which are there, and what went wrong last.
//!
//! ```text
//! NODE/backup.json              written by the agent and by `countersign-backup`, for everybody to read
//! NODE/run/backup-queue.lock    held for the time of one small write
//! ```
//!
//! The agent only keeps this list and starts `countersign-backup`, which does the work: so the agent links none of
//! it. Snapshots are what is true: the list is set right by what is on the disk before it is used.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::config::Backup;
use crate::durable::{self, DiskError, OnDisk};

/// Longest list, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// How long another process' small write is waited for.
const LONGEST_LOCK: Duration = Duration::from_secs(5);
/// Longest reason that is kept, in characters.
const LONGEST_REASON: usize = 500;

/// A complete snapshot as it is on this disk. A number comes back with another state, a moment does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Local {
    /// When its manifest was written, by the disk.
    pub made: Timestamp,
    /// Its number: the generation whose state it is.
    pub snapshot: u64,
}

/// A snapshot that is not in the store yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Which one.
    #[serde(flatten)]
    pub local: Local,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether an attempt began that has not ended: it was cut off, or is under way.
    #[serde(default)]
    pub begun: bool,
}

/// A snapshot that is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Which one.
    #[serde(flatten)]
    pub local: Local,
    /// When it was there.
    pub at: Timestamp,
    /// Its name there, as `restic snapshots` shows it.
    pub id: String,
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The format: 1.
    pub format: u32,
    /// Not in the store yet, oldest first. As many as the configuration's `queue` at most.
    pub waiting: Vec<Waiting>,
    /// Those of this disk that are in the store.
    pub stored: Vec<Stored>,
    /// Those of this disk that had to leave a full queue.
    pub given_up: Vec<Local>,
    /// How many snapshots will never be in the store: the queue was full, or they were removed here before.
    pub dropped: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Not tried again before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last one that reached the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Stored>,
}

fn path(home: &Home) -> PathBuf {
    home.path().join("backup.json")
}

impl Queue {
    /// Reads it; empty where there is none yet. One that cannot be read is begun anew: what is in the store already
    /// is found there.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read(home: &Home) -> Result<Self, DiskError> {
        let bytes = durable::read(&path(home), MAX_FILE)?;
        let read = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        Ok(read.filter(|queue| queue.format == 1).unwrap_or_default())
    }

    /// What [`Queue::update`] would make of it, without writing anything.
    ///
    /// # Errors
    /// The disk fails.
    pub fn look(home: &Home, backup: &Backup) -> Result<Self, DiskError> {
        let mut queue = Self::read(home)?;
        queue.reconcile(on_disk(home)?, backup.queue as usize);
        Ok(queue)
    }

    /// Changes it, after it was set right by what is on the disk, and gives back what it is then.
    ///
    /// # Errors
    /// The disk fails, or somebody keeps it locked.
    pub fn update(
        home: &Home,
        backup: &Backup,
        change: impl FnOnce(&mut Self),
    ) -> Result<Self, DiskError> {
        let lock = home.run().join("backup-queue.lock");
        let file = durable::append_to(&lock)?;
        durable::lock_within(&file, LONGEST_LOCK).on_disk("lock", &lock)?;
        let before = Self::read(home)?;
        let mut queue = before.clone();
        queue.reconcile(on_disk(home)?, backup.queue as usize);
        change(&mut queue);
        queue.format = 1;
        if queue != before {
            let bytes = serde_json::to_vec_pretty(&queue)
                .map_err(|error| DiskError::new("write", &path(home), error.into()))?;
            durable::write(&path(home), &bytes)?;
        }
        Ok(queue)
    }

    fn reconcile(&mut self, there: Vec<Local>, bound: usize) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| there.contains(&waiting.local));
        self.dropped += (before - self.waiting.len()) as u64;
        self.stored.retain(|stored| there.contains(&stored.local));
        self.given_up.retain(|local| there.contains(local));
        for local in there {
            let known = self.waiting.iter().any(|waiting| waiting.local == local)
                || self.stored.iter().any(|stored| stored.local == local)
                || self.given_up.contains(&local);
            if !known {
                self.waiting.push(Waiting { local, attempts: 0, begun: false });
            }
        }
        self.waiting.sort_by(|a, b| a.local.cmp(&b.local));
        let too_many = self.waiting.len().saturating_sub(bound.max(1));
        self.given_up.extend(self.waiting.drain(..too_many).map(|waiting| waiting.local));
        self.dropped += too_many as u64;
    }

    /// Whether something waits and may be tried. A clock that was set back does not hold it up.
    pub fn due(&self, now: Timestamp, backup: &Backup) -> bool {
        let longest = SignedDuration::try_from(backup.retry.max).unwrap_or(SignedDuration::MAX);
        !self.waiting.is_empty()
            && self.next.is_none_or(|next| next <= now || next.duration_since(now) > longest)
    }

    /// An attempt at `local` begins.
    pub fn began(&mut self, local: &Local) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.local == *local) {
            waiting.attempts = waiting.attempts.saturating_add(1);
            waiting.begun = true;
        }
    }

    /// `local` is in the store.
    pub fn arrived(&mut self, local: &Local, id: String, now: Timestamp) {
        self.waiting.retain(|waiting| waiting.local != *local);
        let stored = Stored { local: local.clone(), at: now, id };
        self.stored.push(stored.clone());
        self.last = Some(stored);
        (self.failures, self.next, self.error) = (0, None, None);
    }

    /// The store does not have `local` any more: it waits again.
    pub fn lost(&mut self, local: &Local) {
        self.stored.retain(|stored| stored.local != *local);
        if !self.waiting.iter().any(|waiting| waiting.local == *local) {
            self.waiting.push(Waiting { local: local.clone(), attempts: 0, begun: false });
            self.waiting.sort_by(|a, b| a.local.cmp(&b.local));
        }
    }

    /// The store does not have `id` any more, as the operator wanted it.
    pub fn forgotten(&mut self, id: &str) {
        let (gone, stored) = self.stored.drain(..).partition(|stored: &Stored| stored.id == id);
        self.stored = stored;
        self.given_up.extend(gone.into_iter().map(|stored: Stored| stored.local));
    }

    /// An attempt failed, so that the next one waits, each time longer.
    pub fn failed(&mut self, reason: &str, now: Timestamp, backup: &Backup) {
        self.failures = self.failures.saturating_add(1);
        let factor = 1u32 << (self.failures - 1).min(20);
        let pause = backup.retry.min.saturating_mul(factor).min(backup.retry.max);
        let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
        self.next = now.checked_add(pause).ok();
        self.error = Some(reason.chars().take(LONGEST_REASON).collect());
    }
}

/// The complete snapshots of a node, oldest first.
fn on_disk(home: &Home) -> Result<Vec<Local>, DiskError> {
    let dir = home.snapshots();
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).on_disk("read", &dir)? {
        let name = entry.on_disk("read", &dir)?.file_name();
        let Some(snapshot) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let manifest = home.snapshot(snapshot).join("manifest.json");
        // Removed or replaced just now: the next look finds what is there.
        let Ok(made) = fs::metadata(&manifest).and_then(|meta| meta.modified()) else { continue };
        found.extend(Timestamp::try_from(made).ok().map(|made| Local { made, snapshot }));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn backup(lines: &str) -> Backup {
        let text = format!(
            "product = \"p\"\nrepositories = [\"file:///r\"]\n[backup]\nto = \"/b\"\npassword-file = \"/p\"\n{lines}"
        );
        Config::from_text(&text, "n.toml".into()).unwrap().backup.unwrap()
    }

    fn local(snapshot: u64) -> Local {
        Local { made: Timestamp::from_second(1000 + snapshot as i64).unwrap(), snapshot }
    }

    fn numbers(queue: &Queue) -> Vec<u64> {
        queue.waiting.iter().map(|waiting| waiting.local.snapshot).collect()
    }

    #[test]
    fn the_queue_is_what_is_on_the_disk_and_not_in_the_store_and_has_a_bound() {
        let mut queue = Queue::default();
        queue.reconcile((1..=3).map(local).collect(), 16);
        assert_eq!(numbers(&queue), [1, 2, 3]);
        queue.arrived(&local(2), "id".to_owned(), Timestamp::UNIX_EPOCH);
        queue.reconcile((2..=4).map(local).collect(), 16);
        assert_eq!((numbers(&queue), queue.dropped), (vec![3, 4], 1), "1 was removed here");
        queue.reconcile((2..=7).map(local).collect(), 2);
        assert_eq!((numbers(&queue), queue.dropped), (vec![6, 7], 4), "the oldest leave");
        queue.reconcile((2..=7).map(local).collect(), 2);
        assert_eq!((numbers(&queue), queue.dropped), (vec![6, 7], 4), "and do not come back");
        let again = Local { made: Timestamp::from_second(5000).unwrap(), snapshot: 2 };
        queue.reconcile(vec![again], 2);
        assert_eq!(numbers(&queue), [2], "the same number is not the same state");
        assert!(queue.stored.is_empty() && queue.given_up.is_empty());
        queue.arrived(&local(9), "id".to_owned(), Timestamp::UNIX_EPOCH);
        queue.lost(&local(9));
        assert_eq!(numbers(&queue), [9, 2]);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_a_clock_set_back_does_not_lengthen_them() {
        let backup = backup("retry = \"10s..30s\"");
        let now = Timestamp::from_second(100_000).unwrap();
        let mut queue = Queue::default();
        queue.reconcile(vec![local(1)], 16);
        assert!(queue.due(now, &backup));
        for pause in [10, 20, 30, 30] {
            queue.failed("no", now, &backup);
            assert_eq!(queue.next, Timestamp::from_second(100_000 + pause).ok());
        }
        assert!(!queue.due(now, &backup));
        assert!(queue.due(Timestamp::from_second(50_000).unwrap(), &backup));
        queue.arrived(&local(1), "id".to_owned(), now);
        assert_eq!((queue.failures, queue.next, queue.waiting.len()), (0, None, 0));
    }

    #[test]
    fn a_damaged_list_is_begun_anew_and_an_unchanged_one_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        fs::create_dir(home.snapshot(3)).unwrap();
        fs::write(home.snapshot(3).join("manifest.json"), "{}").unwrap();
        fs::create_dir(home.snapshots().join("partial-4")).unwrap();
        fs::write(path(&home), "{").unwrap();
        let backup = backup("");
        let queue = Queue::update(&home, &backup, |_| {}).unwrap();
        assert_eq!(numbers(&queue), [3]);
        let written = fs::metadata(path(&home)).unwrap().modified().unwrap();
        assert_eq!(Queue::update(&home, &backup, |_| {}).unwrap(), queue);
        assert_eq!(fs::metadata(path(&home)).unwrap().modified().unwrap(), written);
    }
}
