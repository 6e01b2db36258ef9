//! Which release runs on a restored state: the one that wrote it, verified and staged here again; where the repository
//! has withdrawn that, the newer one that is installed, if it brings the migrations.

use countersign_metadata::Area;
use countersign_updater::epochs::{self, Crossing};
use countersign_updater::generation::Generation;
use countersign_updater::policy::{self, Choice, Facts, Verdict};
use countersign_updater::stage::StagedVersion;
use countersign_updater::{Config, Home, fetch, stage, trust_store};
use jiff::Timestamp;

use crate::BackupError;

pub(super) enum Release {
    /// The one that wrote the state. Updates from there go their usual way.
    Saved(Box<StagedVersion>),
    /// The one that is installed, after these migrations, in any order.
    Installed { steps: Vec<(Area, u32, u32)> },
}

pub(super) fn find(
    home: &Home,
    config: &Config,
    current: &Generation,
    saved: &Generation,
) -> Result<Release, BackupError> {
    let none =
        |reason: String| BackupError::NoRelease { version: saved.version.to_string(), reason };
    if saved.binary == current.binary {
        let staged = stage::reopen(home, &saved.binary)?;
        let gone = || none("it is installed, and not in the node's store any more".to_owned());
        return staged.map(|staged| Release::Saved(Box::new(staged))).ok_or_else(gone);
    }
    let refreshed = trust_store::refresh(home, config, Timestamp::now())?;
    let facts = Facts::of_new(&refreshed.reproduced, Some(&saved.version));
    let Choice { approved, decisions, .. } = policy::choose(config, &refreshed.releases, facts);
    if let Some(approved) = approved {
        if approved.release().artifact.sha256 != saved.binary {
            return Err(none(
                "the repository's artifact of that version is another one".to_owned(),
            ));
        }
        let fetched = fetch::fetch(home, config, approved, &mut |_| {})?;
        return Ok(Release::Saved(Box::new(stage::stage(home, fetched)?)));
    }
    if let Some(steps) = steps(current, saved) {
        return Ok(Release::Installed { steps });
    }
    let mine = decisions.into_iter().find(|one| one.version.as_ref() == Some(&saved.version));
    let reason = match mine.map(|decision| decision.verdict) {
        Some(Verdict::Refused(reasons)) => {
            reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
        _ => "the repository does not have it".to_owned(),
    };
    Err(none(reason))
}

/// How the installed release brings the saved state to its schemas; `None` if it cannot.
fn steps(current: &Generation, saved: &Generation) -> Option<Vec<(Area, u32, u32)>> {
    if current.version < saved.version {
        return None;
    }
    if !saved.areas.keys().all(|area| current.areas.contains_key(area)) {
        return None;
    }
    let crossings = epochs::crossings(saved.schemas(), &saved.held, current.schemas());
    // What the installed release reads as it is stays as it is.
    let needed = crossings.into_iter().filter(|crossing| !crossing.lazy);
    let step = |Crossing { area, from, to, .. }| {
        let brought = to > from && current.launch.migrations.contains_key(&area);
        brought.then_some((area, from, to))
    };
    needed.map(step).collect()
}
