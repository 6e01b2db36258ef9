//! Looking for a newer updater: verified and approved by its own trust, held off, staged, and tried on this node directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_metadata::release::Urgency;
use countersign_metadata::{NodeSpec, Release, Sha256};
use serde::{Deserialize, Serialize};

use super::launch::own_version;
use super::{Attempt, Place, STARTS};
use crate::config::{Mode, Updater};
use crate::durable::{self, DiskError};
use crate::generation::{Generation, Launch};
use crate::hold::{Hold, Terms};
use crate::machine::Moment;
use crate::policy::{self, Facts};
use crate::seen::Seen;
use crate::state::command;
use crate::trust_store::{self, chain};
use crate::{Config, Home, fetch, stage};

/// A program that cannot read a node directory within this time cannot read it.
const REHEARSAL: Duration = Duration::from_secs(30);

/// What came of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Nothing changes, and why.
    No(String),
    /// `current` names another program.
    Yes(String),
}

#[derive(Serialize, Deserialize)]
struct Held {
    artifact: Sha256,
    hold: Hold,
}

/// Looks once, and goes as far as it can.
///
/// # Errors
/// Why it could not be looked, to a person. What runs, runs on.
pub fn look(
    home: &Home,
    config: &Config,
    updater: &Updater,
    now: &Moment,
) -> Result<Renewed, String> {
    let place = Place::of(home);
    let own = own_home(&place, home, updater).map_err(|error| chain(&*error))?;
    let config = own_config(config, updater);
    let refreshed = trust_store::refresh(&own, &config, now.wall).map_err(|error| chain(&error))?;
    let running = running(&place, &config);
    let disk = |error: DiskError| chain(&error);
    let mut seen = Seen::read(&own).map_err(disk)?;
    let listed = refreshed.releases.verified.iter();
    if seen.look(listed.map(|target| target.release().artifact.sha256), now) {
        seen.keep(&own).map_err(disk)?;
    }
    let facts = Facts {
        running: running.as_ref(),
        known_bad: &place.bad(),
        reproduced: &refreshed.reproduced,
        ages: &seen.ages(now),
        held: &BTreeMap::new(),
        only: None,
    };
    let choice = policy::choose(&config, &refreshed.releases, facts);
    let Some(approved) = choice.approved else {
        return Ok(Renewed::No("no newer updater is offered".to_owned()));
    };
    let version = approved.release().version.clone();
    let artifact = approved.release().artifact.sha256;
    if config.mode == Mode::Manual {
        return Ok(Renewed::No(format!("the updater {version} waits: the mode is manual")));
    }
    let urgent = approved.release().urgency == Urgency::Urgent || choice.running_revoked;
    let rollout = approved.target().rollout();
    let terms = Terms::new(config.delay, config.urgent_floor, urgent, rollout);
    let held = place.read::<Held>("hold.json").filter(|held| held.artifact == artifact);
    let hold = match held.map(|held| held.hold) {
        Some(hold) if hold.outdated(&terms, now).is_none() => hold,
        before => {
            let seed = own.seed().map_err(|error| chain(&error))?;
            let hold = Hold::settle(before.as_ref(), &seed, &artifact, &terms, now);
            place.write("hold.json", &Held { artifact, hold: hold.clone() }).map_err(disk)?;
            hold
        }
    };
    if !hold.is_over(now) {
        let end = hold.end(now);
        return Ok(Renewed::No(format!("the updater {version} waits until {end}")));
    }
    let staged = match stage::reopen(&own, &artifact).map_err(|error| chain(&error))? {
        Some(staged) if staged.release() == approved.release() => staged,
        _ => {
            let fetched = fetch::fetch(&own, &config, approved, &mut |_| {})
                .map_err(|error| chain(&error))?;
            stage::stage(&own, fetched).map_err(|error| chain(&error))?
        }
    };
    let Some(program) = program_of(staged.release()) else {
        return Err(format!("the updater {version} does not say what its program is"));
    };
    let to = Path::new("store").join(artifact.to_string()).join("tree").join(program);
    if let Err(reason) = rehearse(home, &place, &place.dir().join(&to)) {
        place.condemn(artifact, &format!("version {version}: {reason}")).map_err(disk)?;
        return Ok(Renewed::No(format!("the updater {version} is refused: {reason}")));
    }
    let from = place.named();
    let attempt =
        Attempt { from, to: to.clone(), artifact, version: version.clone(), run: 0, supervise: 0 };
    place.note(&attempt).map_err(disk)?;
    place.point_to(&to).map_err(disk)?;
    Ok(Renewed::Yes(format!("the updater {version} takes the place of this one")))
}

/// "Can this binary read this node directory?" More than one try: a machine may be short of something for a moment.
fn rehearse(home: &Home, place: &Place, program: &Path) -> Result<(), String> {
    let program = home.text(program);
    let node = home.text(home.path());
    let format = crate::supervise::HAND_OVER_FORMAT.to_string();
    let log = place.dir().join("log/rehearsal.log");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let all = [
        words(&[&program, "--version"]),
        words(&[&program, "rehearse", "--hand-over", &format, &node]),
    ];
    let mut last = Ok(());
    for _ in 0..STARTS {
        last = all.iter().try_for_each(|words| {
            command::run(words, BTreeMap::new(), place.dir(), &log, REHEARSAL, Vec::new())
        });
        if last.is_ok() {
            break;
        }
    }
    last.map_err(|error| format!("it cannot read this node directory: {}", chain(&error)))
}

/// The first word of its `[node]` command: the release says what its program is.
fn program_of(release: &Release) -> Option<PathBuf> {
    release.node.as_ref()?.command.first().map(PathBuf::from)
}

/// The updater's own directory: trust, store and seed, below the root that the operator gave.
fn own_home(
    place: &Place,
    home: &Home,
    updater: &Updater,
) -> Result<Home, Box<dyn std::error::Error>> {
    let own = match Home::open_to_write(place.dir()) {
        Ok(own) => own,
        Err(_) => {
            let own = Home::create(place.dir())?;
            let root = updater.root.clone().unwrap_or_else(|| home.pinned_root());
            let bytes = durable::read(&root, countersign_metadata::layout::limit::ROOT)?
                .ok_or_else(|| format!("there is no root file {}", root.display()))?;
            durable::write(&own.pinned_root(), &bytes)?;
            own.finish(
                "# The updater's own trust and store. Its settings are [updater] of the node.\n",
            )?;
            own
        }
    };
    Ok(own)
}

fn own_config(config: &Config, updater: &Updater) -> Config {
    let mut own = config.clone();
    own.product = updater.product.clone();
    own.repositories.clone_from(&updater.repositories);
    own.delay = updater.delay;
    own.policy = updater.policy.clone();
    own.listen = BTreeMap::new();
    own.probation.checks = BTreeMap::new();
    own
}

/// What runs, in the terms of the policy.
fn running(place: &Place, config: &Config) -> Option<Generation> {
    let (binary, version) = place
        .version()
        .or_else(|| Some((Sha256::of(b"the program that the service starts"), own_version()?)))?;
    let spec: NodeSpec =
        serde_json::from_value(serde_json::json!({ "command": ["countersign-updater"] })).ok()?;
    Some(Generation {
        number: 0,
        product: config.product.clone(),
        version,
        binary,
        state: 0,
        areas: BTreeMap::new(),
        held: BTreeMap::new(),
        protocol: None,
        launch: Launch::new(&spec, &BTreeMap::new()),
    })
}
