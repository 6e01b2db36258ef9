//! The proofs that this process holds about the candidate. A disk holds claims: after a restart they are earned
//! again, the staged bytes by hashing, the approval by verified metadata, the clearance by the report's digest.

use countersign_metadata::Sha256;

use super::Real;
use crate::fetch::Fetched;
use crate::generation::Generation;
use crate::machine::Blame;
use crate::policy::{self, Approved};
use crate::shadow::{self, Cleared};
use crate::stage::{self, StagedVersion};
use crate::trust_store::{self, chain};

/// What is proven about one artifact.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) fetched: Option<Fetched>,
    pub(super) staged: Option<StagedVersion>,
    pub(super) cleared: Option<Cleared>,
    /// Whether the shadow's copy of the state was made by this process.
    pub(super) copied: bool,
}

/// A failure of an effect.
pub(super) type Failed = (Blame, String);

/// The machine's or a mirror's fault.
pub(super) fn world(error: &(dyn std::error::Error + 'static)) -> Failed {
    (Blame::World, chain(error))
}

impl Real {
    /// The release with this artifact, verified and approved by what was fetched last in this process.
    pub(super) fn approved(&self, artifact: &Sha256) -> Result<Approved, Failed> {
        let Some((Ok(refreshed), _)) = &self.asked else {
            return Err((Blame::World, "the repository was not asked in this process".to_owned()));
        };
        self.judge(&refreshed.releases, &refreshed.reproduced, artifact)
    }

    /// The same without asking anybody: by what was kept on disk, verified again.
    fn approved_offline(&self, artifact: &Sha256) -> Result<(), Failed> {
        let now = super::now().map_err(|error| world(&error))?;
        let releases = trust_store::kept_releases(&self.home, &self.config, now.wall)
            .map_err(|error| world(&error))?;
        let same = |t: &&countersign_metadata::trust::VerifiedTarget| {
            t.release().artifact.sha256 == *artifact
        };
        match releases.verified.iter().find(same) {
            Some(target) if self.staged_as(artifact, target.release()) => Ok(()),
            Some(_) => Err((
                Blame::World,
                "the staged release is not the one that was signed: its release.json was changed"
                    .to_owned(),
            )),
            None => {
                Err((Blame::World, "no verified release has this artifact any more".to_owned()))
            }
        }
    }

    fn staged_as(&self, artifact: &Sha256, signed: &countersign_metadata::Release) -> bool {
        let staged = self.proof.staged.as_ref();
        staged.is_some_and(|s| s.identity() == artifact && s.release() == signed)
    }

    fn judge(
        &self,
        releases: &countersign_metadata::trust::Releases,
        reproduced: &std::collections::BTreeMap<Sha256, crate::verify::Reproduced>,
        artifact: &Sha256,
    ) -> Result<Approved, Failed> {
        let running = Generation::current(&self.home).map_err(|error| world(&error))?;
        let now = super::now().map_err(|error| world(&error))?;
        let facts = policy::Facts {
            running: running.as_ref(),
            known_bad: &self.known_bad,
            reproduced,
            ages: &self.seen.ages(&now),
            held: &self.held,
            only: None,
        };
        policy::approve(&self.config, releases, facts, artifact).map_err(|decision| {
            let reasons = match decision.map(|d| d.verdict) {
                Some(policy::Verdict::Refused(reasons)) => {
                    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                }
                _ => "no verified release has this artifact any more".to_owned(),
            };
            (Blame::World, reasons)
        })
    }

    /// Makes sure that the staged bytes were hashed by this process.
    pub(super) fn staged(&mut self, artifact: &Sha256) -> Result<&StagedVersion, Failed> {
        if self.proof.staged.as_ref().is_none_or(|staged| staged.identity() != artifact) {
            self.proof.staged =
                stage::reopen(&self.home, artifact).map_err(|error| world(&error))?;
        }
        self.proof.staged.as_ref().ok_or_else(|| {
            (Blame::World, format!("{} is not in the store any more", artifact.short()))
        })
    }

    /// Just before a swap: hashes the staged bytes again, however long ago they were hashed, and stages them again
    /// if they are not what was signed any more.
    pub(super) fn staged_afresh(&mut self, artifact: &Sha256) -> Result<(), Failed> {
        let approved = self.approved(artifact)?;
        self.proof.staged = stage::reopen(&self.home, artifact).unwrap_or(None);
        if self.staged_as(artifact, approved.release()) {
            return Ok(());
        }
        self.stage(artifact).map(|_| ())
    }

    /// Just before a swap: what runs now can still be gone back to.
    pub(super) fn way_back(&self) -> Result<(), Failed> {
        let running = self.current()?;
        match stage::reopen(&self.home, &running.binary).map_err(|error| world(&error))? {
            Some(_) => Ok(()),
            None => Err((
                Blame::World,
                format!(
                    "version {}, which runs, is not in the store: no way back",
                    running.version
                ),
            )),
        }
    }

    /// Makes sure that everything the swap stands on is proven in this process: bytes, signature, clearance.
    pub(super) fn proven(
        &mut self,
        artifact: &Sha256,
        report: &Sha256,
    ) -> Result<(&StagedVersion, &Cleared), Failed> {
        self.staged(artifact)?;
        self.approved_offline(artifact)?;
        let Proof { staged, cleared, .. } = &mut self.proof;
        let gone = || {
            let reason = "the shadow's report is gone or was changed: it has to be tried again";
            (Blame::World, reason.to_owned())
        };
        let staged = staged.as_ref().ok_or_else(gone)?;
        if cleared.as_ref().is_none_or(|c| c.artifact() != artifact || c.report() != report) {
            *cleared = shadow::recall(&self.home, staged, report).map_err(|error| world(&error))?;
        }
        Ok((staged, cleared.as_ref().ok_or_else(gone)?))
    }
}
