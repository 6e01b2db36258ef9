//! Finds out whether a build depends on anything that machines differ in, and on what.
//!
//! Two builds as the recipe says, one plain, one with everything varied. Where they differ, all builds from there on are
//! *still*: clock and randomness are held as well, so that nothing but what is varied differs. Two still builds that
//! differ anyhow are a race, or something random that cannot be held. Else the guilty are found by halves (`bisect`).

mod bisect;
mod repeat;

use std::path::Path;

use serde::Serialize;

use crate::build::{
    BuildError, Built, Ceilings, Job, Kind, NotVaried, Stillness, Variation, feasible,
};
use crate::compare::{self, CompareError, Comparison};
use crate::prepare::Prepared;

pub use repeat::{Repeated, repeat};

/// The plain build's artifact and log.
const PLAIN: &str = "plain";
/// The still build's.
const STILL: &str = "still";

/// What a check found, and what it could not look at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The result.
    #[serde(flatten)]
    pub checked: Checked,
    /// What was to be varied and could not be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_varied: Vec<NotVaried>,
    /// Commands that made a compiler ask for this machine's processor: no variation shows that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub native: Vec<String>,
}

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
    /// Other bytes without any variation, even with clock and randomness held: a race, or something random that
    /// cannot be held.
    Unstable {
        /// What differs.
        comparison: Comparison,
    },
    /// Other bytes under a variation.
    Depends {
        /// The variations that change the bytes.
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
    /// What must be varied with it to change them; nothing where it does so alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Kind>,
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
    #[error("the build {name} came to nothing")]
    Build {
        /// Its name: `NAME.log` tells more.
        name: String,
        /// Why it failed.
        #[source]
        source: BuildError,
    },
    /// A comparison.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// A scratch directory and what is to be built.
struct Check<'a> {
    prepared: &'a Prepared,
    dir: &'a Path,
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
) -> Result<Report, CheckError> {
    let check = Check { prepared, dir, now };
    let (varied, not_varied) = feasible(prepared, variation);
    let plain = check.build(PLAIN, &Variation::none(), Stillness::AsWritten)?;
    let native = plain.native.clone();
    let checked = check.compared(&plain, &varied)?;
    Ok(Report { checked, not_varied, native })
}

impl Check<'_> {
    fn compared(&self, plain: &Built, wanted: &Variation) -> Result<Checked, CheckError> {
        let equal =
            || Checked::Equal { sha256: plain.packed.tar.sha256, varied: wanted.kinds().collect() };
        if wanted.is_none() {
            return Ok(equal());
        }
        let varied = self.try_build("varied", wanted, Stillness::AsWritten)?;
        if matches!(&varied, Ok(varied) if varied.packed.tar == plain.packed.tar) {
            return Ok(equal());
        }
        let still = self.build(STILL, &Variation::none(), Stillness::Still)?;
        let again = self.build("again", &Variation::none(), Stillness::Still)?;
        if again.packed.tar != still.packed.tar {
            return self.unstable();
        }
        let mut comparison = match varied {
            Ok(_) => Some(self.compare(PLAIN, "varied")?),
            Err(_) => None,
        };
        let guilty = self.guilty(&still, wanted)?;
        Ok(match (guilty.is_empty(), comparison.take()) {
            // Nothing that can be varied makes still builds differ: it was chance.
            (true, Some(comparison)) => Checked::Unstable { comparison },
            (_, comparison) => Checked::Depends { guilty, comparison },
        })
    }

    /// Two still builds differ. What differs may be times that the kernel stamps on files, which nobody can hold.
    fn unstable(&self) -> Result<Checked, CheckError> {
        let comparison = self.compare(STILL, "again")?;
        if !comparison.is_all_dates() {
            return Ok(Checked::Unstable { comparison });
        }
        let (kind, cure) = (Kind::Time, Kind::Time.cure());
        let comparison = Some(comparison);
        let guilty = Guilty { kind, with: Vec::new(), cure, comparison, did_not_build: None };
        Ok(Checked::Depends { guilty: vec![guilty], comparison: None })
    }

    /// Who makes a still build differ. Time and randomness are asked whatever was wanted: they vary by themselves.
    fn guilty(&self, still: &Built, wanted: &Variation) -> Result<Vec<Guilty>, CheckError> {
        let by_themselves = Variation::from_iter([Kind::Time, Kind::Randomness]);
        let (by_themselves, _) = feasible(self.prepared, &by_themselves);
        let suspects: Variation = wanted.kinds().chain(by_themselves.kinds()).collect();
        let suspects: Vec<Kind> = suspects.kinds().collect();
        let mut differs = |set: &[Kind]| -> Result<bool, CheckError> {
            let name = name(set);
            let variation = set.iter().copied().collect();
            let built = self.try_build(&name, &variation, Stillness::Still)?;
            let differs = !matches!(&built, Ok(built) if built.packed.tar == still.packed.tar);
            if !differs {
                // A courtesy to the disk: it is the same as the still one's.
                let _same = std::fs::remove_file(self.dir.join(format!("{name}.tar.zst")));
            }
            Ok(differs)
        };
        let groups = bisect::guilty(&suspects, &mut differs)?;
        let mut guilty = Vec::new();
        for group in groups {
            for kind in &group {
                let with = group.iter().copied().filter(|other| other != kind).collect();
                let (comparison, did_not_build) = self.difference(&group)?;
                let (kind, cure) = (*kind, kind.cure());
                guilty.push(Guilty { kind, with, cure, comparison, did_not_build });
            }
        }
        Ok(guilty)
    }

    /// How a build that was found to differ does.
    fn difference(&self, set: &[Kind]) -> Result<(Option<Comparison>, Option<String>), CheckError> {
        let name = name(set);
        if self.dir.join(format!("{name}.tar.zst")).exists() {
            return Ok((Some(self.compare(STILL, &name)?), None));
        }
        let variation = set.iter().copied().collect();
        Ok(match self.try_build(&name, &variation, Stillness::Still)? {
            Ok(_) => (Some(self.compare(STILL, &name)?), None),
            Err(reason) => (None, Some(reason)),
        })
    }

    fn build(
        &self,
        name: &str,
        variation: &Variation,
        stillness: Stillness,
    ) -> Result<Built, CheckError> {
        let job = Job {
            prepared: self.prepared,
            variation,
            stillness,
            artifact: &self.dir.join(format!("{name}.tar.zst")),
            log: &self.dir.join(format!("{name}.log")),
            keep: None,
            ceilings: Ceilings::default(),
        };
        let told = |step: &str| (self.now)(&format!("{step} ({name})"));
        job.run(&told).map_err(|source| CheckError::Build { name: name.to_owned(), source })
    }

    /// The inner error is a build that failed, which says something about the variation.
    fn try_build(
        &self,
        name: &str,
        variation: &Variation,
        stillness: Stillness,
    ) -> Result<Result<Built, String>, CheckError> {
        match self.build(name, variation, stillness) {
            Ok(built) => Ok(Ok(built)),
            Err(CheckError::Build { source: BuildError::DidNotBuild(reason), .. }) => {
                Ok(Err(reason.to_string()))
            }
            Err(other) => Err(other),
        }
    }

    fn compare(&self, one: &str, other: &str) -> Result<Comparison, CompareError> {
        let path = |name: &str| self.dir.join(format!("{name}.tar.zst"));
        compare::compare(&path(one), &path(other))
    }
}

/// The name of a build in which these are varied; a file name must not be too long.
fn name(set: &[Kind]) -> String {
    let all: Vec<&str> = set.iter().map(|kind| kind.name()).collect();
    match set {
        [first, .., last] if all.len() > 4 => format!("{first}-to-{last}-{}", all.len()),
        _ => all.join("+"),
    }
}
