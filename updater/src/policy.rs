//! Which release a node takes: a pure function of verified releases, configuration and facts, with its reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use countersign_metadata::node::Check;
use countersign_metadata::release::{BadRelease, Urgency};
use countersign_metadata::trust::{Releases, VerifiedTarget};
use countersign_metadata::{ActionId, Area, Platform, Release, Rollout, Sha256, Version};
use serde::Serialize;

use crate::Config;
use crate::generation::Generation;
use crate::rebuilder::Rebuilder;
use crate::verify::Reproduced;

/// What is known beside releases and configuration.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What runs; `None` while nothing is installed.
    pub running: Option<&'a Generation>,
    /// Artifacts that were tried and are never tried again, each with the reason.
    pub known_bad: &'a BTreeMap<Sha256, String>,
    /// Who reproduced which artifact, by verified verdicts.
    pub reproduced: &'a BTreeMap<Sha256, Reproduced>,
    /// For how long this node has known each artifact; one that is not there was not seen before.
    pub ages: &'a BTreeMap<Sha256, Duration>,
    /// Versions that the operator holds, each with the reason.
    pub held: &'a BTreeMap<Version, String>,
    /// Set where a person asked for one version.
    pub only: Option<&'a Version>,
}

/// Nothing was tried, seen or held yet.
static NO_REASONS: BTreeMap<Sha256, String> = BTreeMap::new();
static NO_AGES: BTreeMap<Sha256, Duration> = BTreeMap::new();
static NONE_HELD: BTreeMap<Version, String> = BTreeMap::new();

impl<'a> Facts<'a> {
    /// Of a node on which nothing runs and that has seen nothing before.
    pub fn of_new(reproduced: &'a BTreeMap<Sha256, Reproduced>, only: Option<&'a Version>) -> Self {
        let (known_bad, ages, held) = (&NO_REASONS, &NO_AGES, &NONE_HELD);
        Self { running: None, known_bad, reproduced, ages, held, only }
    }
}

/// A release that this node takes: verified, and approved by the operator's policy.
///
/// Its birthplaces are [`choose`] and [`approve`]. It cannot be made elsewhere:
///
/// ```compile_fail
/// fn forge(target: countersign_metadata::trust::VerifiedTarget) -> countersign_updater::policy::Approved {
///     countersign_updater::policy::Approved(target)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Approved(VerifiedTarget);

impl Approved {
    /// What was verified.
    pub fn target(&self) -> &VerifiedTarget {
        &self.0
    }

    /// What it is.
    pub fn release(&self) -> &Release {
        self.0.release()
    }
}

/// The outcome of [`choose`].
#[derive(Debug)]
pub struct Choice {
    /// The newest release that this node takes, if there is one.
    pub approved: Option<Approved>,
    /// One decision a release, newest first.
    pub decisions: Vec<Decision>,
    /// Whether what runs was revoked.
    pub running_revoked: bool,
}

/// What was decided about one release.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// Its target path.
    pub path: String,
    /// Its version, where that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Its identity, where that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Sha256>,
    /// How pressing it is.
    pub urgency: Urgency,
    /// What its keyholders say about when nodes take it.
    #[serde(skip_serializing_if = "Rollout::is_empty")]
    pub rollout: Rollout,
    /// What it asks of operators.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub actions: BTreeMap<ActionId, String>,
    /// The decision.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reasons", rename_all = "kebab-case")]
pub enum Verdict {
    /// It is the one that runs.
    Running,
    /// The node takes it.
    Chosen,
    /// The node would take it, had it not chosen a newer one.
    Eligible,
    /// The node does not take it.
    Refused(Vec<Reason>),
}

/// Why a node does not take a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each reason and its fields are said in full by its sentence below"
)]
pub enum Reason {
    Unreadable { why: String },
    OtherPlatform { platform: Platform },
    NotANode,
    NotNewer { running: Version },
    NotTheOneAskedFor { wanted: Version },
    Prerelease,
    Skipped,
    Barrier { follows: Version, running: Version },
    Revoked,
    KnownBad { why: String },
    NoSocket { name: String },
    NoMigration { area: Area, from: u32, to: u32 },
    ProtocolGone { running: u32, oldest: u32, newest: u32 },
    ProtocolTooFar { running: u32, newest: u32 },
    NotReproduced { found: usize, needed: usize, counting: usize },
    Cancelled { why: String },
    Held { why: String },
    NotPinned { pin: String },
    NotUrgent { urgency: Urgency, wanted: Urgency },
    TooYoung { known: String, wanted: String },
    NotRebuilt { found: usize, needed: usize },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why } => {
                write!(f, "it is not a release that this node can read: {why}")
            }
            Self::OtherPlatform { platform } => write!(f, "it is for {platform}"),
            Self::NotANode => f.write_str("it does not say how to run it ([node] is missing)"),
            Self::NotNewer { running } => write!(f, "it is not newer than {running}, which runs"),
            Self::NotTheOneAskedFor { wanted } => write!(f, "{wanted} was asked for"),
            Self::Prerelease => {
                f.write_str("it is a pre-release (policy.allow-prerelease is false)")
            }
            Self::Skipped => f.write_str("the operator skips it (policy.skip)"),
            Self::Barrier { follows, running } => {
                write!(f, "it follows {follows} or later, and {running} runs")
            }
            Self::Revoked => f.write_str("its keyholders have revoked it"),
            Self::KnownBad { why } => write!(f, "it was tried here and is known bad: {why}"),
            Self::NoSocket { name } => {
                write!(f, "it has no socket {name:?}, which the operator's configuration names")
            }
            Self::NoMigration { area, from, to } => {
                write!(f, "it brings no migration of {area} from schema {from} to {to}")
            }
            Self::ProtocolGone { running, oldest, newest } => {
                write!(
                    f,
                    "it speaks protocols {oldest} to {newest}, not {running}, which is spoken now"
                )
            }
            Self::ProtocolTooFar { running, newest } => {
                write!(f, "its protocol {newest} is more than one version after {running}")
            }
            Self::NotReproduced { found, needed, counting } => {
                write!(
                    f,
                    "{found} of the {counting} whose verdicts count here reproduced it, and {needed} must have"
                )
            }
            Self::Cancelled { why } => {
                write!(f, "its keyholders have cancelled its rollout: {why}")
            }
            Self::Held { why } => f.write_str(why),
            Self::NotPinned { pin } => write!(f, "the operator stays at {pin} (policy.pin)"),
            Self::NotUrgent { urgency, wanted } => write!(
                f,
                "its urgency is {}, and less than {} is not taken (policy.urgency)",
                urgency_text(*urgency),
                urgency_text(*wanted)
            ),
            Self::TooYoung { known, wanted } => {
                write!(
                    f,
                    "this node has known it for {known}, and waits for {wanted} (policy.min-age)"
                )
            }
            Self::NotRebuilt { found, needed } => {
                write!(
                    f,
                    "{found} of the {needed} signatures that must rest on a rebuild do (policy.rebuilt)"
                )
            }
        }
    }
}

/// An urgency as it is written.
fn urgency_text(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Low => "low",
        Urgency::Normal => "normal",
        Urgency::Urgent => "urgent",
    }
}

/// Chooses the newest release that this node takes, and says about each release why or why not.
pub fn choose(config: &Config, releases: &Releases, facts: Facts<'_>) -> Choice {
    let mut verified: Vec<_> = releases.verified.iter().collect();
    verified.sort_by(|a, b| b.release().version.cmp(&a.release().version));
    let mut approved = None;
    let mut decisions = Vec::new();
    for target in verified {
        let reasons = judge(config, target, facts, &releases.revoked);
        let runs = |g: &Generation| {
            (g.binary, &g.version) == (target.release().artifact.sha256, &target.release().version)
        };
        let verdict = if facts.running.is_some_and(runs) {
            Verdict::Running
        } else if !reasons.is_empty() {
            Verdict::Refused(reasons)
        } else if approved.is_none() {
            approved = Some(Approved(target.clone()));
            Verdict::Chosen
        } else {
            Verdict::Eligible
        };
        decisions.push(decision(target, verdict));
    }
    decisions.extend(releases.refused.iter().map(|(path, error)| unreadable(path, error)));
    let running_revoked = facts.running.is_some_and(|g| releases.revoked.contains(&g.version));
    Choice { approved, decisions, running_revoked }
}

/// Judges one artifact alone: for going on with a release that was chosen before.
///
/// # Errors
/// The node does not take it (any more): the decision says why. `None`: no verified release has it.
pub fn approve(
    config: &Config,
    releases: &Releases,
    facts: Facts<'_>,
    artifact: &Sha256,
) -> Result<Approved, Option<Box<Decision>>> {
    let same = |t: &&VerifiedTarget| t.release().artifact.sha256 == *artifact;
    let target = releases.verified.iter().find(same).ok_or(None)?;
    let reasons = judge(config, target, facts, &releases.revoked);
    if reasons.is_empty() {
        return Ok(Approved(target.clone()));
    }
    Err(Some(Box::new(decision(target, Verdict::Refused(reasons)))))
}

fn judge(
    config: &Config,
    target: &VerifiedTarget,
    facts: Facts<'_>,
    revoked: &BTreeSet<Version>,
) -> Vec<Reason> {
    let release = target.release();
    let version = &release.version;
    let policy = &config.policy;
    let mut reasons = Vec::new();
    if release.platform != config.platform {
        reasons.push(Reason::OtherPlatform { platform: release.platform.clone() });
    }
    if release.node.is_none() {
        reasons.push(Reason::NotANode);
    }
    if let Some(wanted) = facts.only.filter(|wanted| *wanted != version) {
        reasons.push(Reason::NotTheOneAskedFor { wanted: wanted.clone() });
    }
    if version.is_prerelease() && !policy.allow_prerelease && facts.only != Some(version) {
        reasons.push(Reason::Prerelease);
    }
    if policy.skip.contains(version) {
        reasons.push(Reason::Skipped);
    }
    if revoked.contains(version) {
        reasons.push(Reason::Revoked);
    }
    if let Some(why) = facts.known_bad.get(&release.artifact.sha256) {
        reasons.push(Reason::KnownBad { why: why.clone() });
    }
    if let Some(why) = &target.rollout().cancelled {
        reasons.push(Reason::Cancelled { why: why.clone() });
    }
    if let Some(why) = facts.held.get(version) {
        reasons.push(Reason::Held { why: why.clone() });
    }
    if let Some(pin) = policy.pin.as_ref().filter(|pin| !pin.takes(version)) {
        reasons.push(Reason::NotPinned { pin: pin.to_string() });
    }
    if let Some(running) = facts.running {
        after(running, release, &mut reasons);
        sockets(config, release, &mut reasons);
        // What must be left is left for anything.
        if release.urgency < policy.urgency && !revoked.contains(&running.version) {
            let (urgency, wanted) = (release.urgency, policy.urgency);
            reasons.push(Reason::NotUrgent { urgency, wanted });
        }
        let known = facts.ages.get(&release.artifact.sha256).copied().unwrap_or_default();
        if known < policy.min_age {
            let (known, wanted) = (about(known), about(policy.min_age));
            reasons.push(Reason::TooYoung { known, wanted });
        }
    }
    let (found, counting) = reproducers(config, target, facts);
    let needed = policy.needed(counting);
    if found < needed {
        reasons.push(Reason::NotReproduced { found, needed, counting });
    }
    let needed = policy.rebuilt.needed(target.threshold());
    let found = facts.reproduced.get(&release.artifact.sha256).map_or(0, |r| r.keyholders.len());
    if found < needed {
        reasons.push(Reason::NotRebuilt { found, needed });
    }
    reasons
}

/// A span of time to a person: its largest two units.
fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Whether `release` can come after what runs.
fn after(running: &Generation, release: &Release, reasons: &mut Vec<Reason>) {
    if release.version <= running.version {
        reasons.push(Reason::NotNewer { running: running.version.clone() });
    }
    if let Some(follows) = release.follows.as_ref().filter(|f| running.version < **f) {
        let (follows, running) = (follows.clone(), running.version.clone());
        reasons.push(Reason::Barrier { follows, running });
    }
    for (area, spec) in release.node.iter().flat_map(|node| &node.areas) {
        // An area that does not exist yet has nothing to migrate.
        let Some(&writes) = running.areas.get(area) else { continue };
        let held = running.held.get(area).into_iter().flatten().copied();
        let unread = held.chain([writes]).find(|schema| !spec.reads(*schema));
        if let Some(from) = unread.filter(|_| spec.migrate.is_none()) {
            reasons.push(Reason::NoMigration { area: area.clone(), from, to: spec.schema });
        }
    }
    // A node speaks the newest protocol and one back, so that neighbours can update one by one.
    if let (Some((_, now)), Some((oldest, newest))) = (running.protocol, release.protocol) {
        if now < oldest || now > newest {
            reasons.push(Reason::ProtocolGone { running: now, oldest, newest });
        } else if newest > now.saturating_add(1) {
            reasons.push(Reason::ProtocolTooFar { running: now, newest });
        }
    }
}

/// An address that the operator chose must not fall back to the release's own because the socket has another name.
/// (`install` refuses it with the names that there are.)
fn sockets(config: &Config, release: &Release, reasons: &mut Vec<Reason>) {
    let Some(node) = &release.node else { return };
    let asked = config.probation.checks.values().filter_map(Check::socket);
    let named = config.listen.keys().map(String::as_str).chain(asked);
    let gone: BTreeSet<_> = named.filter(|name| !node.listen.contains_key(*name)).collect();
    reasons.extend(gone.into_iter().map(|name| Reason::NoSocket { name: name.to_owned() }));
}

/// How many of those who count did, and how many there are.
fn reproducers(config: &Config, target: &VerifiedTarget, facts: Facts<'_>) -> (usize, usize) {
    (counted(config, target, facts.reproduced).len(), roster(config, target).len())
}

/// Who of those that reproduced a release counts. Anybody can make keys and get certificates: only the operator's roster
/// and the keyholders who signed do, and each once.
pub fn counted<'a>(
    config: &Config,
    target: &VerifiedTarget,
    reproduced: &'a BTreeMap<Sha256, Reproduced>,
) -> Vec<&'a Rebuilder> {
    let known = roster(config, target);
    let passed = reproduced.get(&target.release().artifact.sha256);
    passed.into_iter().flat_map(|r| &r.by).filter(|by| known.contains(by)).collect()
}

/// Whose verdicts about a release count: the operator's roster of keys and identities, and the keyholders who signed it.
pub(crate) fn roster(config: &Config, target: &VerifiedTarget) -> BTreeSet<Rebuilder> {
    let keys = config.policy.rebuilders.iter().chain(target.signers().iter().map(|s| s.key()));
    let keys = keys.map(|key| Rebuilder::from(*key));
    keys.chain(config.policy.identities.iter().map(Rebuilder::from)).collect()
}

fn decision(target: &VerifiedTarget, verdict: Verdict) -> Decision {
    let release = target.release();
    Decision {
        path: target.path().to_owned(),
        version: Some(release.version.clone()),
        artifact: Some(release.artifact.sha256),
        urgency: release.urgency,
        rollout: target.rollout().clone(),
        actions: release.actions.clone(),
        verdict,
    }
}

fn unreadable(path: &str, error: &BadRelease) -> Decision {
    let why = error.to_string();
    Decision {
        path: path.to_owned(),
        version: None,
        artifact: None,
        urgency: Urgency::default(),
        rollout: Rollout::default(),
        actions: BTreeMap::new(),
        verdict: Verdict::Refused(vec![Reason::Unreadable { why }]),
    }
}

#[cfg(test)]
mod tests;
