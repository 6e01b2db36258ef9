//! Hunting races: the same still build again and again while starts of processes are disturbed, until one differs.

use std::path::Path;

use serde::Serialize;

use super::{Check, CheckError, STILL};
use crate::build::{Stillness, Variation};
use crate::compare::Comparison;
use crate::prepare::Prepared;

/// What repetition showed.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Repeated {
    /// Never other bytes.
    Steady {
        /// How many builds were disturbed.
        runs: u32,
        /// What decided the disturbances of the first; each next one has the next number.
        seed: u64,
    },
    /// Other bytes once, though nothing was varied: a race. Nothing was built after that.
    Race {
        /// How many differed: one.
        differed: u32,
        /// Of how many.
        runs: u32,
        /// The seed of the first; the one that differed had `seed + runs - 1`.
        seed: u64,
        /// What differs; absent where it did not build at all.
        #[serde(skip_serializing_if = "Option::is_none")]
        comparison: Option<Comparison>,
        /// Why it did not build, if it did not.
        #[serde(skip_serializing_if = "Option::is_none")]
        did_not_build: Option<String>,
    },
}

/// Builds once in peace and up to `runs` times disturbed. `dir` gets the artifacts and logs.
///
/// # Errors
/// The undisturbed build fails, or the machine cannot run one of them.
pub fn repeat(
    prepared: &Prepared,
    runs: u32,
    seed: u64,
    dir: &Path,
    now: &dyn Fn(&str),
) -> Result<Repeated, CheckError> {
    let none = Variation::none();
    let quiet = Check { prepared, dir, now };
    let still = quiet.build(STILL, &none, Stillness::Still)?;
    for run in 1..=runs {
        let told = |step: &str| now(&format!("{step}: {run} of {runs}"));
        let check = Check { prepared, dir, now: &told };
        let stillness = Stillness::Disturbed(seed.wrapping_add(u64::from(run - 1)));
        let race = |comparison, did_not_build| Repeated::Race {
            differed: 1,
            runs: run,
            seed,
            comparison,
            did_not_build,
        };
        match check.try_build("disturbed", &none, stillness)? {
            Ok(built) if built.packed.tar == still.packed.tar => {}
            Ok(_) => return Ok(race(Some(check.compare(STILL, "disturbed")?), None)),
            Err(reason) => return Ok(race(None, Some(reason))),
        }
    }
    Ok(Repeated::Steady { runs, seed })
}
