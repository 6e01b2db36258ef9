//! The shadow: runs a release on a copy of the state, shut off from the world, and says what it did.
//!
//! Steps: migrations of the copy, start, readiness, health, a window of watching, stop. Every process of them runs
//! in the sandbox, where nothing real can be reached and every attempt to is counted. Any of the reasons in
//! [`Reason`] refuses the release; only [`ShadowReport::clear`] gives [`Cleared`], and the swap demands it.

mod beside;
mod calls;
mod http;
mod judge;
mod line;
mod measures;
mod meet;
mod meeting;
mod migration;
mod mirror;
mod normal;
mod open;
pub mod page;
mod probe;
mod relay;
mod replies;
mod report;
mod room;
mod saved;
mod script;
mod series;
mod trial;
mod view;
mod watch;
mod written;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use countersign_metadata::Sha256;
use countersign_metadata::node::Check;
use regex_lite::Regex;

pub use calls::Calls;
pub use countersign_sandbox::{Lowerable, NotLowerable};
pub use judge::{Reason, exit_text};
pub use measures::{Beside, Figure, Measures, Stands, What};
pub use meeting::{Meeting, Pair, Protocols};
pub use mirror::{Datagrams, Mirrored, Took};
pub use open::{Opening, open};
pub use probe::{Answer, ProbeError, health as probe_health};
pub use replies::{Answers, Difference};
pub(crate) use report::is_other;
pub use report::{AttemptSeen, Ending, HealthSeen, MigrationRun, Report, Verdict};
pub use saved::{Saved, all as reports, saved};
pub use script::{Kept, Unexpected};
pub use series::Series;
pub use trial::{Bounds, Trial, trial};
pub use written::{DeedSeen, NameWritten, WrittenSeen};

use crate::durable::{self, DiskError, OnDisk};
use crate::generation::{Generation, Launch};
use crate::stage::StagedVersion;
use crate::state::StateError;
use crate::{Config, Home};
use beside::Prepared;
use room::Room;
use script::Script;
use view::StateView;

/// Longest report, in bytes.
const MAX_REPORT: u64 = 16 << 20;
/// Bytes of the shadow's output that are kept in its log.
const MAX_OUTPUT: u64 = 8 << 20;
/// Bytes of the log's end that the report repeats.
const TAIL: usize = 4 << 10;

/// A shadow that could not be had: nothing is known about the release.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] countersign_sandbox::Error),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What the release is to run on.
    #[error(transparent)]
    State(#[from] Box<StateError>),
    /// The report is no JSON.
    #[error("the report cannot be written as a statement")]
    NotWritten(#[source] serde_json::Error),
    /// The release does not say how it runs.
    #[error("the release has no [node] section: there is nothing to run")]
    NotANode,
}

impl ShadowError {
    /// Whether this machine lacks a protection: trying again cannot help before that has changed.
    pub fn is_missing_protection(&self) -> bool {
        matches!(self, Self::Sandbox(countersign_sandbox::Error::Missing { .. }))
    }
}

/// What a release did in the shadow, seen by this process.
///
/// Its one birthplace is [`run`]. It has been saved as `NODE/reports/SHA256.json`.
#[derive(Debug)]
pub struct ShadowReport {
    report: Report,
    digest: Sha256,
}

/// Proof that a release did nothing in the shadow that it may not. Its birthplaces are [`ShadowReport::clear`] and
/// [`recall`]. It cannot be made elsewhere:
///
/// ```compile_fail
/// fn forge(artifact: countersign_metadata::Sha256) -> countersign_updater::shadow::Cleared {
///     countersign_updater::shadow::Cleared { artifact, report: artifact }
/// }
/// ```
#[derive(Debug)]
pub struct Cleared {
    artifact: Sha256,
    report: Sha256,
}

impl ShadowReport {
    /// What was seen.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The digest of the report as saved.
    pub fn digest(&self) -> &Sha256 {
        &self.digest
    }

    /// The proof, if the verdict is yes.
    ///
    /// # Errors
    /// The report itself, if the verdict is no.
    pub fn clear(self) -> Result<Cleared, Box<Self>> {
        match self.report.verdict {
            Verdict::Cleared => Ok(Cleared { artifact: self.report.artifact, report: self.digest }),
            Verdict::Refused { .. } => Err(Box::new(self)),
        }
    }
}

impl Cleared {
    /// The release, by the digest of its canonical tar.
    pub fn artifact(&self) -> &Sha256 {
        &self.artifact
    }

    /// The digest of the report.
    pub fn report(&self) -> &Sha256 {
        &self.report
    }
}

/// After a restart: proves again that `staged` was cleared, by the saved report and its digest in the journal.
///
/// # Errors
/// The report cannot be read. `Ok(None)`: it is gone, another one, or its verdict is no.
pub fn recall(
    home: &Home,
    staged: &StagedVersion,
    digest: &Sha256,
) -> Result<Option<Cleared>, DiskError> {
    let Some(bytes) = durable::read(&home.report(staged.identity()), MAX_REPORT)? else {
        return Ok(None);
    };
    let report = serde_json::from_slice::<Report>(&bytes).ok();
    let same = Sha256::of(&bytes) == *digest;
    Ok(report
        .filter(|r| same && r.artifact == *staged.identity() && r.verdict == Verdict::Cleared)
        .map(|r| Cleared { artifact: r.artifact, report: *digest }))
}

/// Runs `staged` above `snapshot`, a directory that the caller made for this: it stays as it is, and nobody may write it
/// meanwhile. It holds nothing secret. `old` is the generation whose state was copied; without it, the snapshot is empty
/// or of unknown schema, and no migration is run.
///
/// # Errors
/// The shadow could not be had. What the release did wrong is no error: the report says it.
pub fn run(
    home: &Home,
    config: &Config,
    staged: &StagedVersion,
    snapshot: &Path,
    old: Option<&Generation>,
) -> Result<ShadowReport, ShadowError> {
    let release = staged.release();
    let new = crate::swap::described(config, staged, 0).ok_or(ShadowError::NotANode)?;
    let log = home.log().join(format!("shadow-{}.log", staged.identity().short()));
    durable::append_to(&log)?.set_len(0).on_disk("write", &log)?;
    let prepared = beside::prepare(home, config, old, snapshot, &log);
    let view = StateView::above(home, config, snapshot, "new")?;
    let room = Room::new(staged.tree(), view, config, &log);
    let rehearsal = migration::run(home, config, &new, &room, old)?;
    let tried = if rehearsal.failed() {
        Tried {
            seen: None,
            measures: None,
            mirrored: None,
            meeting: None,
            written: room.state.written()?,
            said: tail(&log)?,
        }
    } else {
        try_it(home, config, staged, &new, (&room, &log), &prepared)?
    };
    let declared = release.node.iter().flat_map(|node| &node.connects_to);
    let allowed = declared.chain(&config.shadow.allow).cloned().collect();
    let Tried { seen, measures, mirrored, meeting, written, said } = tried;
    let beside = (measures, mirrored);
    let mut report = judge::report(release, config, rehearsal, seen, beside, &allowed).met(meeting);
    report.output_end = said;
    report.written = written;
    let bytes = serde_json::to_vec_pretty(&report).map_err(io::Error::from);
    let path = home.report(staged.identity());
    let bytes = bytes.on_disk("write", &path)?;
    durable::write_private(&path, &bytes)?;
    Ok(ShadowReport { digest: Sha256::of(&bytes), report })
}

/// What came of starting it.
struct Tried {
    seen: Option<watch::Seen>,
    measures: Option<Measures>,
    mirrored: Option<Mirrored>,
    meeting: Option<Meeting>,
    written: Option<WrittenSeen>,
    said: String,
}

/// Starts it, beside the old version where that can be had.
fn try_it(
    home: &Home,
    config: &Config,
    staged: &StagedVersion,
    new: &Generation,
    (room, log): (&Room, &Path),
    prepared: &Prepared<'_>,
) -> Result<Tried, ShadowError> {
    let launch = &new.launch;
    // What a migration printed is not the node's own.
    let printed = fs::metadata(log).on_disk("look at", log)?.len();
    let node = staged.release().node.as_ref();
    let spec = node.and_then(|node| node.shadow.clone()).unwrap_or_default();
    let plan = watch::Plan {
        checks: checks_of(launch, &config.probation.checks, config.shadow.window),
        mirror: config.shadow.mirror.map(|share| mirror::Plan {
            home: home.clone(),
            share,
            sockets: launch.listen.iter().cloned().collect(),
            same: spec.same.clone(),
            udp: spec.udp.clone(),
        }),
        ..plan(config, launch, config.shadow.window, log)
    };
    let old = prepared.as_ref().ok();
    let lane = old.map(|old| old.lane(config)).transpose()?;
    let script = Script::new(&spec, launch, old.map(|old| &old.generation.launch));
    let mut watched = watch::watch(room.node(launch)?, &plan, lane, script)?;
    let limits = &config.shadow.limits;
    let mut measures = beside::measured(limits, &spec, &mut watched, prepared, (log, printed))?;
    // Before the census, which prints and writes there too.
    let (written, said) = (room.state.written()?, tail(log)?);
    let mirrored = watched.mirrored;
    let mut seen = watched.new;
    let ran = !seen.early && seen.ready_after.is_some();
    if let Some(old) = old.filter(|_| measures.is_beside() && ran) {
        measures.calls = beside::census(config, &spec, (launch, room), old, &mut seen)?;
    }
    let mut meeting = None;
    if ran {
        let old = (prepared, &measures.beside);
        meeting = meet::hold(config, spec.meet.as_ref(), (new, room), old, &mut seen)?;
    }
    Ok(Tried { seen: Some(seen), measures: Some(measures), mirrored, meeting, written, said })
}

fn plan(config: &Config, launch: &Launch, window: Duration, log: &Path) -> watch::Plan {
    watch::Plan {
        ready: launch.ready,
        first_socket: launch.listen.first().map(|(_, address)| *address),
        health: health_of(launch),
        ready_line: launch.ready_line.as_deref().and_then(|line| Regex::new(line).ok()),
        checks: Vec::new(),
        log: log.to_owned(),
        ready_within: config.shadow.ready,
        window,
        grace: Duration::from_secs(launch.stop_grace.into()),
        mirror: None,
    }
}

/// What can be asked in there: no command, for what it did would not be seen, and no height, which needs the world.
fn checks_of(
    launch: &Launch,
    operator: &std::collections::BTreeMap<String, Check>,
    window: Duration,
) -> Vec<(String, watch::Asked)> {
    let of_release = launch.checks.iter().filter(|(name, _)| !operator.contains_key(*name));
    let asked = |check: &Check| match check {
        Check::Http { listen, path } => {
            Some(watch::Asked::Http(launch.address(listen)?, path.clone()))
        }
        Check::Tcp { listen } => Some(watch::Asked::Tcp(launch.address(listen)?)),
        Check::Log { line, within } if u64::from(*within) <= window.as_secs() => {
            Regex::new(line).ok().map(watch::Asked::Log)
        }
        _ => None,
    };
    of_release
        .chain(operator)
        .filter_map(|(name, check)| Some((name.clone(), asked(check)?)))
        .collect()
}

fn health_of(launch: &Launch) -> Option<(SocketAddr, String)> {
    let health = launch.health.as_ref()?;
    Some((launch.address(&health.listen)?, health.path.clone()))
}

/// The end of the output, for a person who wants to know why.
fn tail(log: &Path) -> Result<String, DiskError> {
    use std::io::{Read, Seek, SeekFrom};
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL as u64)))?;
        let mut bytes = Vec::new();
        file.take(TAIL as u64).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().on_disk("read", log)
}
