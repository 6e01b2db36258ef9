//! `attest`: publish a third party's verdict about a release.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_metadata::attestation::{self, VerifiedAttestation};
use countersign_metadata::dsse::Envelope;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::statement::{Outcome, Statement};
use serde_json::{Value, json};

use crate::repository::Repository;
use crate::{disk, tell};

/// Publish a signed verdict about a release, whatever it says
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// The envelope that `countersign-builder rebuild --signer` wrote
    #[arg(value_name = "VERDICT.dsse.json")]
    verdict: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let _lock = repository.lock()?;
        let mut published = repository.must_be_published()?;
        let bytes = disk::read(&self.verdict, limit::ATTESTATION)?;
        let no_envelope = || format!("{} is no signed statement", self.verdict.display());
        let envelope: Envelope =
            serde_json::from_slice(&bytes).or_fail(Exit::Input, no_envelope())?;
        // Only to find the release: nothing else in it is believed before the signature is.
        let claimed = envelope.claimed_payload().or_fail(Exit::Input, no_envelope())?;
        let claimed: Statement<Value> =
            serde_json::from_slice(&claimed).or_fail(Exit::Input, no_envelope())?;
        let path = claimed.subject.first().map(|s| s.name.clone()).unwrap_or_default();
        let found = published
            .find(&path, &mut repository.source())
            .map_err(|error| tell::authoring("cannot look the release up", &error))?;
        let target = found.ok_or_else(|| {
            Failure::new(Exit::Input, format!("{path:?} is not released here"))
                .hint("a verdict names the target path of the release that was rebuilt")
        })?;
        let release = target.release();
        let verified = attestation::verify(&bytes, release)
            .or_fail(Exit::Untrusted, format!("{} was refused", self.verdict.display()))?;
        let (who, says) = match &verified {
            VerifiedAttestation::Provenance(key, _) => (key, "how it was built".to_owned()),
            VerifiedAttestation::Verdict(verdict) => (
                verdict.rebuilder(),
                match verdict.outcome() {
                    Outcome::Reproduced => "that it was reproduced".to_owned(),
                    Outcome::Divergence { sha256 } => format!("that a rebuild gave {sha256}"),
                    Outcome::DidNotBuild { reason } => format!("that it did not build: {reason}"),
                },
            ),
        };
        let artifact = release.artifact.sha256;
        let digest = repository.attest(&artifact, &bytes)?;
        let stored = layout::attestation(&artifact, &digest);
        out.say(format!("{who} says of {path} {says}"));
        out.say(format!("Published as {stored}"));
        out.json(&json!({ "release": path, "by": who, "says": says, "path": stored }));
        Ok(Exit::Done)
    }
}
