//! The version that runs, beside the new one: in a sandbox with the same limits, on the same state as it was before any
//! migration.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use countersign_metadata::Release;
use countersign_metadata::layout::limit;
use countersign_metadata::node::{MeetSpec, ShadowSpec, compiled};
use countersign_sandbox::Sandbox;
use regex_lite::Regex;

use super::calls::Calls;
use super::measures::{Beside, Measures, Side, ends_worse, figures};
use super::migration;
use super::replies::Times;
use super::report::Ending;
use super::room::Room;
use super::script::Script;
use super::view::StateView;
use super::watch::{self, Seen, Watched};
use super::{MAX_OUTPUT, ShadowError, plan};
use crate::config::Limits;
use crate::durable::{self, DiskError, OnDisk};
use crate::generation::{Generation, Launch};
use crate::trust_store::chain;
use crate::{Config, Home};

/// Lines of output that are errors, where a release does not say it.
const ERRORS: &str = r"(?i)\b(error|fatal|panic|panicked|critical)\b";

/// Longest line of output that is looked at, in bytes.
const LONGEST_LINE: u64 = 64 << 10;

/// The old version, ready to be started; or why there is none.
pub(super) type Prepared<'a> = Result<Old<'a>, String>;

/// The old version, ready to be started.
pub(super) struct Old<'a> {
    pub(super) generation: &'a Generation,
    pub(super) room: Room,
    /// The exchange that it declares itself.
    pub(super) meet: Option<MeetSpec>,
}

/// Makes a view of `snapshot` of its own for `old`.
pub(super) fn prepare<'a>(
    home: &Home,
    config: &Config,
    old: Option<&'a Generation>,
    snapshot: &Path,
    log: &Path,
) -> Prepared<'a> {
    let Some(generation) = old else { return Err("nothing ran here before".to_owned()) };
    if !config.shadow.compare {
        return Err("the operator wants none (shadow.compare = false)".to_owned());
    }
    let told = |error: &dyn std::error::Error| chain(error);
    let view = StateView::above(home, config, snapshot, "old").map_err(|error| told(&error))?;
    let log = log.with_extension("old.log");
    let emptied = durable::append_to(&log).and_then(|file| file.set_len(0).on_disk("write", &log));
    emptied.map_err(|error| told(&error))?;
    let room = Room::new(generation.tree(home), view, config, &log);
    let made_up = migration::identity(config, generation, &room).map_err(|error| told(&error))?;
    match made_up.and_then(|made| made.trouble) {
        Some(trouble) => Err(trouble),
        None => Ok(Old { generation, room, meet: exchange_of(home, generation) }),
    }
}

/// What its release says, as it lies in the store. What cannot be read is not known.
fn exchange_of(home: &Home, old: &Generation) -> Option<MeetSpec> {
    let path = home.stored(&old.binary).join("release.json");
    let bytes = durable::read(&path, limit::METADATA).ok().flatten()?;
    let release: Release = serde_json::from_slice(&bytes).ok()?;
    release.node.filter(|_| release.artifact.sha256 == old.binary)?.shadow?.meet
}

impl Old<'_> {
    /// Its sandbox, and what it is asked.
    pub(super) fn lane(&self, config: &Config) -> Result<(Sandbox, watch::Plan), DiskError> {
        let launch = &self.generation.launch;
        let plan = plan(config, launch, config.shadow.window, &self.room.log);
        Ok((self.room.node(launch)?, plan))
    }
}

/// The section `measures` of the report. `printed` is where the new version's own output begins in its log.
pub(super) fn measured(
    limits: &Limits,
    spec: &ShadowSpec,
    watched: &mut Watched,
    prepared: &Prepared<'_>,
    (log, printed): (&Path, u64),
) -> Result<Measures, DiskError> {
    let script = watched.script.take().map(Script::finish);
    let (kept, comparator) = script.unzip();
    let (answers, times) = comparator.map_or((None, Times::default()), |comparator| {
        let (answers, times) = comparator.finish();
        (Some(answers).filter(|answers| answers.asked > 0), times)
    });
    let pattern = spec.errors.as_deref().unwrap_or(ERRORS);
    let errors = |log: &Path, from| match compiled(pattern) {
        Ok(pattern) => count(log, from, &pattern).on_disk("read", log),
        Err(_) => Ok(0),
    };
    let seen_of_old = watched.old.as_ref().and_then(|old| old.as_ref().ok());
    let beside = match (prepared, &watched.old) {
        (Err(why), _) | (_, Some(Err(why))) => Beside::Nothing(why.clone()),
        (Ok(old), _) => Beside::Version(old.generation.version.clone()),
    };
    let old_errors = match prepared {
        Ok(old) if seen_of_old.is_some() => errors(&old.room.log, 0)?,
        _ => 0,
    };
    let old = seen_of_old.map(|seen| Side { seen, errors: old_errors });
    let new = Side { seen: &watched.new, errors: errors(log, printed)? };
    Ok(Measures {
        beside,
        figures: figures(limits, &new, old.as_ref(), &times),
        script: kept,
        answers,
        calls: None,
        ends_worse: seen_of_old.and_then(|old| ends_worse(&watched.new, old)),
        old_ending: seen_of_old.map(|seen| Ending::new(seen.early, seen.exit, seen.usage)),
        new_series: watched.new.series.clone(),
        old_series: seen_of_old.map(|seen| seen.series.clone()),
    })
}

/// How long system calls are counted, at most.
const CENSUS: Duration = Duration::from_secs(2);

/// Runs both once more, for a short time, and counts their system calls; what the new one tried to reach there counts as in
/// the long run. `None`: there is nothing to compare, or one of them did not run as it had.
pub(super) fn census(
    config: &Config,
    spec: &ShadowSpec,
    (new, room): (&Launch, &Room),
    old: &Old<'_>,
    seen: &mut Seen,
) -> Result<Option<Calls>, ShadowError> {
    let window = config.shadow.window.min(CENSUS);
    let short = |plan: watch::Plan| watch::Plan { window, ..plan };
    let (sandbox, plan_of_old) = old.lane(config)?;
    let lane = (sandbox.census(), short(plan_of_old));
    let script = Script::new(spec, new, Some(&old.generation.launch));
    let plan = plan(config, new, window, &room.log);
    let watched = watch::watch(room.node(new)?.census(), &plan, Some(lane), script)?;
    seen.attempts.extend(watched.new.attempts.iter().cloned());
    seen.unaccounted += watched.new.unaccounted;
    let ran = |seen: &Seen| seen.ready_after.is_some() && !seen.early;
    let both = watched.old.and_then(Result::ok).filter(|old| ran(old) && ran(&watched.new));
    Ok(both.map(|old| Calls::beside(&watched.new.calls, &old.calls)))
}

/// Lines of a log, from a place on, that a pattern matches.
fn count(log: &Path, from: u64, pattern: &Regex) -> std::io::Result<u64> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut lines = BufReader::new(file.take(MAX_OUTPUT));
    let (mut found, mut line) = (0, Vec::new());
    loop {
        line.clear();
        if lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        found += u64::from(pattern.is_match(&String::from_utf8_lossy(&line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_the_line_from_where_the_node_began() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let text = "migration error\nready\nERROR: disk\n0 errors\nerror error\npanicked at 3";
        std::fs::write(&log, text).unwrap();
        let pattern = compiled(ERRORS).unwrap();
        assert_eq!(count(&log, 0, &pattern).unwrap(), 4);
        assert_eq!(count(&log, 16, &pattern).unwrap(), 3);
        assert_eq!(count(&log, 1000, &pattern).unwrap(), 0);
    }
}
