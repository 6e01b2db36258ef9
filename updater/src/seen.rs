//! `NODE/trust/first-seen`: for how long this node has known each release.
//!
//! `policy.min-age` counts from the node's own first sight, because nothing else cannot be forged: whoever signs a
//! release can sign any date with it, and a mirror can hide a release but not have shown it earlier. The age grows by
//! the boot clock while the machine runs, whatever is done to the wall clock; over a reboot it grows by the wall clock,
//! and never by less than the new boot has lasted. What is damaged or lost begins anew: younger, never older.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use countersign_metadata::Sha256;
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::durable::{self, DiskError};
use crate::machine::Moment;

/// Longest file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// How much of an age a power cut may cost.
const EVERY: Duration = Duration::from_hours(1);

/// One release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Its age at `at`, in milliseconds.
    age_ms: u64,
    at: Moment,
}

impl Known {
    fn age(&self, now: &Moment) -> Duration {
        Duration::from_millis(self.age_ms).saturating_add(now.since(&self.at))
    }
}

/// What this node knows, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(BTreeMap<Sha256, Known>);

fn path(home: &Home) -> PathBuf {
    home.trust().join("first-seen")
}

impl Seen {
    /// Reads what was kept.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read(home: &Home) -> Result<Self, DiskError> {
        let bytes = match durable::read(&path(home), MAX_FILE) {
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => None,
            other => other?,
        };
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// These releases are listed now: those that were not are new. Returns whether it is time to keep that.
    pub fn look(&mut self, listed: impl IntoIterator<Item = Sha256>, now: &Moment) -> bool {
        let mut next = BTreeMap::new();
        let mut changed = false;
        for artifact in listed {
            let known = self.0.remove(&artifact);
            let stale = known
                .as_ref()
                .is_none_or(|known| known.at.boot != now.boot || now.since(&known.at) >= EVERY);
            let age = known.as_ref().map_or(Duration::ZERO, |known| known.age(now));
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            let known = known.filter(|_| !stale).unwrap_or(Known { age_ms, at: now.clone() });
            changed |= stale;
            next.insert(artifact, known);
        }
        changed |= !self.0.is_empty();
        self.0 = next;
        changed
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The disk fails.
    pub fn keep(&self, home: &Home) -> Result<(), DiskError> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| DiskError::new("write", &path(home), error.into()))?;
        durable::write(&path(home), &bytes)
    }

    /// How long each release has been known.
    pub fn ages(&self, now: &Moment) -> BTreeMap<Sha256, Duration> {
        self.0.iter().map(|(artifact, known)| (*artifact, known.age(now))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, boot: &str, boot_s: u64) -> Moment {
        Moment::new(jiff::Timestamp::from_second(seconds).unwrap(), boot, boot_s * 1000)
    }

    fn age(seen: &Seen, now: &Moment) -> u64 {
        seen.ages(now)[&Sha256::of(b"a")].as_secs()
    }

    #[test]
    fn an_age_survives_restarts_and_no_clock_that_is_set_makes_it_grow() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        let listed = [Sha256::of(b"a")];
        let mut seen = Seen::read(&home).unwrap();
        assert!(seen.look(listed, &at(1000, "a", 10)));
        assert!(!seen.look(listed, &at(1060, "a", 70)), "nothing to write every minute");
        assert_eq!(age(&seen, &at(9_999_999, "a", 70)), 60, "the wall clock was set forward");
        assert_eq!(age(&seen, &at(0, "a", 70)), 60, "and back");
        assert!(seen.look(listed, &at(5, "a", 10 + 3600)));
        seen.keep(&home).unwrap();
        let mut seen = Seen::read(&home).unwrap();
        // A reboot, the machine off for a while.
        let booted = at(5 + 600, "b", 20);
        assert!(seen.look(listed, &booted));
        assert_eq!(age(&seen, &booted), 3600 + 600);
        assert_eq!(age(&seen, &at(9_999_999, "b", 50)), 3600 + 600 + 30);
        // A reboot with a wall clock that begins in 1970: at least this boot has passed.
        assert_eq!(age(&seen, &at(0, "c", 40)), 3600 + 600 + 40);
    }

    #[test]
    fn a_release_that_was_gone_is_new_again_and_a_damaged_file_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        let mut seen = Seen::default();
        seen.look([Sha256::of(b"a")], &at(0, "a", 0));
        assert!(seen.look([], &at(60, "a", 60)));
        seen.look([Sha256::of(b"a")], &at(120, "a", 120));
        assert_eq!(age(&seen, &at(130, "a", 130)), 10);
        std::fs::write(path(&home), b"{").unwrap();
        assert_eq!(Seen::read(&home).unwrap(), Seen::default());
    }
}
