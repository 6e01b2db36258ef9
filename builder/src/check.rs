//! Finds out whether a build depends on anything that machines differ in, and on what.
//!
//! Two builds, one plain, one with everything varied. Where they differ: the plain one again. If that differs already,
//! time has passed (what differs is dates, or two builds whose clocks begin alike are equal) or something is random. Else
//! each variation alone.

use std::path::Path;

use serde::Serialize;

use crate::build::{BuildError, Built, Ceilings, Job, Kind, Variation};
use crate::compare::{self, CompareError, Comparison};
use crate::prepare::Prepared;

/// What a check found.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Checked {
    /// The same bytes under all of these.
    Equal {
        /// The artifact's digest.
        sha256: countersign_metadata::Sha256,
        /// What was varied.
        varied: Vec<Kind>,
    },
    /// Other bytes without any variation, even when the clock begins alike: randomness or a race.
    Unstable {
        /// What differs.
        comparison: Comparison,
    },
    /// Other bytes under a variation.
    Depends {
        /// The variations that change the bytes, each alone; empty when only several together do.
        guilty: Vec<Guilty>,
        /// What differs between the plain build and the one with everything varied, if that one built.
        #[serde(skip_serializing_if = "Option::is_none")]
        comparison: Option<Comparison>,
    },
}

/// A variation that changes the bytes.
#[derive(Debug, Serialize)]
pub struct Guilty {
    /// What was varied.
    pub kind: Kind,
    /// What a project can do about it.
    pub cure: &'static str,
    /// What differs; absent where it did not build at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Why it did not build, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_not_build: Option<String>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A build.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A comparison.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// A scratch directory and what is to be built.
struct Check<'a> {
    prepared: &'a Prepared,
    dir: &'a Path,
    ceilings: Ceilings,
    now: &'a dyn Fn(&str),
}

/// Builds plain and varied, and names what the bytes depend on. `dir` gets the artifacts and logs.
///
/// # Errors
/// The plain build fails, or the machine cannot run one of them.
pub fn check(
    prepared: &Prepared,
    variation: &Variation,
    dir: &Path,
    now: &dyn Fn(&str),
) -> Result<Checked, CheckError> {
    let check = Check { prepared, dir, ceilings: Ceilings::default(), now };
    let plain = check.build("plain", &Variation::none())?;
    let varied = check.try_build("varied", variation)?;
    if let Ok(varied) = &varied
        && varied.packed.tar == plain.packed.tar
    {
        let sha256 = plain.packed.tar.sha256;
        return Ok(Checked::Equal { sha256, varied: variation.kinds().collect() });
    }
    let again = check.build("again", &Variation::none())?;
    if again.packed.tar != plain.packed.tar {
        let comparison = check.compare("again")?;
        let is_the_clock = comparison.is_all_dates() || check.is_the_clock()?;
        return Ok(match is_the_clock {
            false => Checked::Unstable { comparison },
            true => Checked::Depends {
                guilty: vec![Guilty {
                    kind: Kind::Time,
                    cure: Kind::Time.cure(),
                    comparison: Some(comparison),
                    did_not_build: None,
                }],
                comparison: None,
            },
        });
    }
    let mut guilty = Vec::new();
    for kind in variation.kinds() {
        let cure = kind.cure();
        match check.try_build(kind.name(), &Variation::only(kind))? {
            Ok(built) if built.packed.tar == plain.packed.tar => {}
            Ok(_) => {
                let comparison = Some(check.compare(kind.name())?);
                guilty.push(Guilty { kind, cure, comparison, did_not_build: None });
            }
            Err(reason) => {
                guilty.push(Guilty { kind, cure, comparison: None, did_not_build: Some(reason) })
            }
        }
    }
    let comparison = varied.is_ok().then(|| check.compare("varied")).transpose()?;
    Ok(Checked::Depends { guilty, comparison })
}

impl Check<'_> {
    fn build(&self, name: &str, variation: &Variation) -> Result<Built, BuildError> {
        self.build_at(name, variation, None)
    }

    /// Whether two builds are equal once their clocks begin alike.
    fn is_the_clock(&self) -> Result<bool, BuildError> {
        let epoch = self.prepared.recipe.spec().build.source_date_epoch;
        let at = Some(i64::try_from(epoch).unwrap_or_default());
        let one = self.build_at("clock-1", &Variation::none(), at)?;
        let two = self.build_at("clock-2", &Variation::none(), at)?;
        Ok(one.packed.tar == two.packed.tar)
    }

    fn build_at(
        &self,
        name: &str,
        variation: &Variation,
        clock_at: Option<i64>,
    ) -> Result<Built, BuildError> {
        let job = Job {
            prepared: self.prepared,
            variation,
            clock_at,
            artifact: &self.dir.join(format!("{name}.tar.zst")),
            log: &self.dir.join(format!("{name}.log")),
            keep: None,
            ceilings: self.ceilings,
        };
        job.run(&|step| (self.now)(&format!("{step} ({name})")))
    }

    /// The inner error is a build that failed, which says something about the variation.
    fn try_build(
        &self,
        name: &str,
        variation: &Variation,
    ) -> Result<Result<Built, String>, BuildError> {
        match self.build(name, variation) {
            Ok(built) => Ok(Ok(built)),
            Err(BuildError::DidNotBuild(reason)) => Ok(Err(reason.to_string())),
            Err(other) => Err(other),
        }
    }

    fn compare(&self, name: &str) -> Result<Comparison, CompareError> {
        let path = |name: &str| self.dir.join(format!("{name}.tar.zst"));
        compare::compare(&path("plain"), &path(name))
    }
}
