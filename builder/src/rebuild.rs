//! From a release alone to a verdict: reproduced, divergence, or did not build.
//!
//! Everything comes by digest from what is stored with the release; no registry is asked, and nothing of the source is
//! run or read outside the sandbox.

mod fields;
mod published;

use std::io;
use std::path::PathBuf;

use countersign_metadata::release::Environment;
use countersign_metadata::statement::Outcome;
use countersign_metadata::trust::TrustError;
use countersign_metadata::{Platform, Product, Release, Sha256, Version};

use crate::build::{BuildError, Built, Job};
use crate::http::RepositoryError;
use crate::inputs::InputError;
use crate::prepare::PrepareError;

pub use published::Published;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The directory holds no release.
    #[error("{path} is no release: {what}")]
    NoRelease {
        /// Its `release.json`.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The repository is not to be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The repository has no such release.
    #[error("there is no verified release {product} {version} for {platform}{refused}")]
    NotThere {
        /// What was asked for.
        product: Product,
        /// What was asked for.
        version: Version,
        /// What was asked for.
        platform: Platform,
        /// Why one that looks like it is none.
        refused: String,
    },
    /// An input is not stored with the release, or is something else.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Recipe, lock, source or environment cannot be used.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The release contradicts its own recipe or lock.
    #[error("the release contradicts its {0}")]
    Contradiction(&'static str),
    /// The release says of itself what does not follow from its recipe, lock and source.
    #[error("the release's {0} is not what its recipe and lock make it")]
    OtherField(String),
    /// It is for another platform than this machine is.
    #[error("the release is for {published}, this machine is {here}")]
    OtherPlatform {
        /// The release's.
        published: Platform,
        /// This machine's.
        here: Platform,
    },
    /// It was built in another environment than this machine has.
    #[error(
        "the release was built in environment {published:?}, this machine has {here:?} ({changes})"
    )]
    OtherEnvironment {
        /// The release's.
        published: Sha256,
        /// This machine's.
        here: Sha256,
        /// The parts that differ.
        changes: String,
    },
    /// The build could not be run.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Something cannot be written.
    #[error("cannot write {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A rebuild's result.
#[derive(Debug)]
pub struct Rebuilt {
    /// The verdict.
    pub outcome: Outcome,
    /// The environment it was rebuilt in.
    pub environment: Environment,
    /// What came out, if anything did.
    pub built: Option<Built>,
}

/// Runs the job and compares what comes out with what was published.
///
/// # Errors
/// The machine could not run the build: there is no verdict then.
pub fn judge(
    release: &Release,
    job: &Job<'_>,
    now: &dyn Fn(&str),
) -> Result<Rebuilt, RebuildError> {
    let environment = job.prepared.environment.identity().clone();
    let did_not = |reason: String| Outcome::DidNotBuild { reason };
    match job.run(now) {
        Ok(built) => {
            let outcome = Outcome::compare(&release.artifact.sha256, &built.packed.tar.sha256);
            Ok(Rebuilt { outcome, environment, built: Some(built) })
        }
        Err(BuildError::DidNotBuild(reason)) => {
            let outcome = did_not(reason.to_string());
            Ok(Rebuilt { outcome, environment, built: None })
        }
        // Named by their place in the artifact: a reason is signed, and says nothing of this machine.
        Err(BuildError::Pack(reason @ crate::pack::PackError::Refused { .. })) => {
            let outcome = did_not(countersign_console::printable(&reason.to_string()).into_owned());
            Ok(Rebuilt { outcome, environment, built: None })
        }
        Err(other) => Err(other.into()),
    }
}
