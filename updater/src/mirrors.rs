//! `NODE/mirrors.json`: which mirror failed, gave wrong bytes, or asked to be left alone, and until when.
//!
//! A claim on a disk, and a small one: if it is lost or damaged, a mirror is asked once too often.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use countersign_metadata::Sha256;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::durable::{self, DiskError};
use crate::machine::Moment;
use crate::net::{NetError, Repository};

const FORMAT: u32 = 1;
const MAX_FILE: u64 = 1 << 20;
/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 400;

/// The pause after the first refusal, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause, whatever a server asks for: none may keep a node from an urgent release for longer.
pub const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// What a mirror is asked for. One may fail at the one and be good for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum For {
    /// The small files that say what there is.
    Metadata,
    /// What a release is made of.
    Artifact,
    /// What turns another release into it.
    Delta,
}

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It could not be asked, does not have it, or broke off.
    Away,
    /// It said that it does not want to: 403, 429, 5xx.
    Busy,
    /// It gave what was not signed.
    Untrusted,
}

/// What is wrong with a mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trouble {
    /// Its address.
    pub mirror: String,
    /// What it was asked for.
    pub r#for: For,
    /// What was wrong.
    pub fault: Fault,
    /// The same, to a person.
    pub reason: String,
    /// How often in a row.
    pub count: u32,
    /// Since when.
    pub since: Moment,
    /// When it may be asked again; none: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Moment>,
    /// Whether it does not want to be asked for anything until then: 429 and 503 are about the server.
    #[serde(default)]
    pub everything: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    mirrors: Vec<Trouble>,
}

/// A mirror that is left alone.
#[derive(Clone, Debug, thiserror::Error)]
#[error("not asked again before {until}: {reason}")]
pub struct LeftAlone {
    /// Until when.
    pub until: Moment,
    /// What it said.
    pub reason: String,
}

/// What is known of the mirrors. Nothing is written before [`Mirrors::save`].
#[derive(Debug)]
pub struct Mirrors {
    path: PathBuf,
    seed: Vec<u8>,
    troubles: BTreeMap<(String, For), Trouble>,
    saved: BTreeMap<(String, For), Trouble>,
}

impl Mirrors {
    /// Reads what was kept. A file that cannot be read, or was written by a later version, says nothing.
    pub fn read(home: &Home) -> Self {
        let path = home.mirrors();
        let file = durable::read(&path, MAX_FILE).ok().flatten();
        let file = file.and_then(|bytes| serde_json::from_slice::<File>(&bytes).ok());
        let troubles = file.filter(|file| file.format == FORMAT).map(|file| file.mirrors);
        let troubles: BTreeMap<_, _> = troubles
            .into_iter()
            .flatten()
            .map(|trouble| ((trouble.mirror.clone(), trouble.r#for), trouble))
            .collect();
        let seed = home.seed().map(|seed| seed.as_bytes().to_vec()).unwrap_or_default();
        Self { path, seed, saved: troubles.clone(), troubles }
    }

    /// Writes what changed; of mirrors that are no longer configured nothing is kept.
    ///
    /// # Errors
    /// The disk fails.
    pub fn save(&mut self, configured: &[Repository]) -> Result<(), DiskError> {
        let names: Vec<_> = configured.iter().map(ToString::to_string).collect();
        self.troubles.retain(|(mirror, _), _| names.contains(mirror));
        if self.troubles == self.saved {
            return Ok(());
        }
        let file = File { format: FORMAT, mirrors: self.troubles.values().cloned().collect() };
        let json = serde_json::to_vec_pretty(&file)
            .map_err(|error| DiskError::new("write", &self.path, error.into()))?;
        durable::write(&self.path, &json)?;
        self.saved = self.troubles.clone();
        Ok(())
    }

    /// All that is wrong.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.values()
    }

    /// What was wrong when this mirror was last asked for this.
    pub fn trouble(&self, mirror: &Repository, what: For) -> Option<&Trouble> {
        self.troubles.get(&(mirror.to_string(), what))
    }

    /// Whether this mirror wants to be left alone just now.
    pub fn left_alone(&self, mirror: &Repository, what: For, now: &Moment) -> Option<LeftAlone> {
        let name = mirror.to_string();
        let of_mirror = self.troubles.values().filter(|trouble| trouble.mirror == name);
        let counts = of_mirror.filter(|trouble| trouble.r#for == what || trouble.everything);
        let waits = counts.filter_map(|trouble| {
            let until = trouble.not_before.clone().filter(|until| !now.reached(until))?;
            Some(LeftAlone { until, reason: trouble.reason.clone() })
        });
        waits.max_by_key(|wait| now.until(&wait.until))
    }

    /// It gave what it was asked for.
    pub fn worked(&mut self, mirror: &Repository, what: For) {
        self.troubles.remove(&(mirror.to_string(), what));
    }

    /// It did not.
    pub fn failed(
        &mut self,
        mirror: &Repository,
        what: For,
        (fault, reason): (Fault, &str),
        refusal: Option<&NetError>,
        now: &Moment,
    ) {
        let key = (mirror.to_string(), what);
        let before = self.troubles.get(&key).filter(|before| before.fault == fault);
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let refusal = match refusal {
            Some(NetError::Status { status, retry_after, .. }) => Some((*status, *retry_after)),
            _ => None,
        };
        // A directory that comes and goes is no news each time that it is not there.
        if fault == Fault::Away && before.is_some_and(|before| before.reason == reason) {
            return;
        }
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        let since = before.map_or_else(|| now.clone(), |before| before.since.clone());
        let wait = refusal.filter(|_| fault == Fault::Busy).map(|(_, asked)| match asked {
            Some(asked) => asked.min(LONGEST_PAUSE),
            None => self.pause(&key.0, count),
        });
        let trouble = Trouble {
            mirror: key.0.clone(),
            r#for: what,
            fault,
            reason,
            count,
            since,
            not_before: wait.map(|wait| now.after(wait)),
            everything: matches!(refusal, Some((429 | 503, _))),
        };
        self.troubles.insert(key, trouble);
    }

    /// Doubled with each refusal, and up to half as long again: nodes that were refused together do not come again
    /// together.
    fn pause(&self, mirror: &str, count: u32) -> Duration {
        let factor = 1u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        let drawn = [self.seed.as_slice(), mirror.as_bytes(), &count.to_be_bytes()].concat();
        let part = u32::from(Sha256::of(&drawn).as_bytes()[0]);
        (pause + pause * part / 510).min(LONGEST_PAUSE)
    }
}

/// What kind of answer this was.
pub fn fault_of(error: &NetError) -> Fault {
    match error {
        NetError::Status { status: 403 | 429 | 500..=599, .. } => Fault::Busy,
        NetError::TooLong { .. } => Fault::Untrusted,
        _ => Fault::Away,
    }
}

/// The time, also on a machine that gives no boot clock: a pause is only a courtesy.
pub fn now() -> Moment {
    crate::agent::now().unwrap_or_else(|_| Moment::new(Timestamp::now(), "", 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        (dir, home)
    }

    fn answered(status: u16, retry_after: Option<u64>) -> NetError {
        let retry_after = retry_after.map(Duration::from_secs);
        NetError::Status { url: "u".to_owned(), status, retry_after }
    }

    fn refuse(mirrors: &mut Mirrors, mirror: &Repository, error: &NetError, now: &Moment) {
        let fault = (fault_of(error), "refused");
        mirrors.failed(mirror, For::Artifact, fault, Some(error), now);
    }

    fn at(seconds: u64) -> Moment {
        let wall = Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap()).unwrap();
        Moment::new(wall, "boot", seconds * 1000)
    }

    #[test]
    fn a_mirror_that_asks_for_time_gets_it_also_after_a_restart_but_not_for_ever() {
        let (_dir, home) = node();
        let mirror: Repository = "https://example.org/r".parse().unwrap();
        let other: Repository = "https://example.net/r".parse().unwrap();
        let both = [mirror.clone(), other.clone()];
        let mut mirrors = Mirrors::read(&home);
        refuse(&mut mirrors, &mirror, &answered(429, Some(120)), &at(0));
        mirrors.save(&both).unwrap();
        let mut mirrors = Mirrors::read(&home);
        for what in [For::Metadata, For::Artifact, For::Delta] {
            assert!(mirrors.left_alone(&mirror, what, &at(119)).is_some());
            assert!(mirrors.left_alone(&mirror, what, &at(120)).is_none());
            assert!(mirrors.left_alone(&other, what, &at(0)).is_none(), "not its fault");
        }
        refuse(&mut mirrors, &mirror, &answered(503, Some(10_000_000)), &at(0));
        assert!(mirrors.left_alone(&mirror, For::Artifact, &at(3599)).is_some());
        assert!(mirrors.left_alone(&mirror, For::Artifact, &at(3600)).is_none());
        // Of a mirror that is no longer configured nothing is kept.
        mirrors.save(&[other]).unwrap();
        assert_eq!(Mirrors::read(&home).troubles().count(), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_a_mirror() {
        let (_dir, home) = node();
        let mirror: Repository = "https://example.org/r".parse().unwrap();
        let mut mirrors = Mirrors::read(&home);
        refuse(&mut mirrors, &mirror, &answered(503, None), &at(0));
        let ages_ago = "2001-01-01T00:00:00Z".parse().unwrap();
        let same_boot = Moment::new(ages_ago, "boot", 60_000);
        let next_boot = Moment::new(ages_ago, "next", 60_000);
        assert!(mirrors.left_alone(&mirror, For::Artifact, &same_boot).is_none());
        assert!(mirrors.left_alone(&mirror, For::Artifact, &next_boot).is_none());
    }

    #[test]
    fn pauses_grow_to_an_hour_and_differ_from_node_to_node() {
        let mirror: Repository = "https://example.org/r".parse().unwrap();
        let wait = |home: &Home, times: usize| {
            let mut mirrors = Mirrors::read(home);
            (0..times).for_each(|_| refuse(&mut mirrors, &mirror, &answered(500, None), &at(0)));
            at(0).until(&mirrors.left_alone(&mirror, For::Artifact, &at(0)).unwrap().until)
        };
        let nodes: Vec<_> = (0..8).map(|_| node()).collect();
        let first: std::collections::BTreeSet<_> = nodes.iter().map(|n| wait(&n.1, 1)).collect();
        assert!(first.len() > 1);
        assert!(first.iter().all(|w| *w >= FIRST_PAUSE && *w <= FIRST_PAUSE * 3 / 2), "{first:?}");
        assert!(wait(&nodes[0].1, 4) >= FIRST_PAUSE * 8);
        assert_eq!(wait(&nodes[0].1, 40), LONGEST_PAUSE);
    }

    #[test]
    fn a_refusal_of_one_file_is_no_refusal_of_the_others_and_success_forgets_it() {
        let (_dir, home) = node();
        let mirror: Repository = "https://example.org/r".parse().unwrap();
        let mut mirrors = Mirrors::read(&home);
        refuse(&mut mirrors, &mirror, &answered(403, None), &at(0));
        assert!(mirrors.left_alone(&mirror, For::Artifact, &at(0)).is_some());
        assert!(mirrors.left_alone(&mirror, For::Metadata, &at(0)).is_none());
        mirrors.worked(&mirror, For::Artifact);
        assert!(mirrors.left_alone(&mirror, For::Artifact, &at(0)).is_none());
        std::fs::write(home.mirrors(), "{ not json").unwrap();
        assert_eq!(Mirrors::read(&home).troubles().count(), 0);
    }
}
