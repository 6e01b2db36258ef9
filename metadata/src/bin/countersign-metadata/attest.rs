//! `attest`: publish a third party's verdict about a release, in a bare envelope or in a Sigstore bundle.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_metadata::attestation::{self, Says, VerifiedAttestation};
use countersign_metadata::authoring::Published;
use countersign_metadata::dsse::Envelope;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::sigstore::{
    SignedBy, TrustedRoot, claimed_path, from_bundle, verify_by_anyone,
};
use countersign_metadata::statement::{Outcome, Statement};
use countersign_metadata::trusted_root::TARGET;
use countersign_metadata::{Release, Sha256};
use serde_json::{Value, json};

use crate::repository::Repository;
use crate::{disk, tell};

/// Publish a signed verdict about a release, whatever it says
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// What `countersign-builder rebuild --signer`, `countersign-keys attest` or `countersign-keyless` wrote: a DSSE
    /// envelope, or a Sigstore bundle v0.3
    #[arg(value_name = "VERDICT.json")]
    verdict: PathBuf,
}

/// A file that says which of the two it is; nothing in it has been verified.
enum Came {
    Envelope(Vec<u8>, Box<Envelope>),
    Bundle(Vec<u8>),
}

/// Who says what, verified, and where it was stored.
struct Stored {
    who: String,
    says: String,
    path: String,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let _lock = repository.lock()?;
        let mut published = repository.must_be_published()?;
        let came = self.read()?;
        // Only to find the release: nothing else in it is believed before the signature is.
        let path = self.claimed_path(&came)?;
        let found = published
            .find(&path, &mut repository.source())
            .map_err(|error| tell::authoring("cannot look the release up", &error))?;
        let target = found.ok_or_else(|| {
            Failure::new(Exit::Input, format!("{path:?} is not released here"))
                .hint("a verdict names the target path of the release that was rebuilt")
        })?;
        let release = target.release();
        let stored = match came {
            Came::Envelope(bytes, _) => self.envelope(&repository, release, &bytes)?,
            Came::Bundle(bytes) => self.bundle(&repository, &published, release, &bytes)?,
        };
        let Stored { who, says, path: file } = stored;
        out.say(format!("{who} says of {path} {says}"));
        out.say(format!("Published as {file}"));
        out.json(&json!({ "release": path, "by": who, "says": says, "path": file }));
        Ok(Exit::Done)
    }

    fn read(&self) -> Result<Came, Failure> {
        let bytes = disk::read(&self.verdict, limit::ATTESTATION)?;
        let value: Value =
            serde_json::from_slice(&bytes).or_fail(Exit::Input, self.no_verdict())?;
        if value.get("mediaType").is_none() {
            let envelope = serde_json::from_value(value).or_fail(Exit::Input, self.no_verdict())?;
            return Ok(Came::Envelope(bytes, Box::new(envelope)));
        }
        // A key-signed bundle without evidence is a bare envelope in other clothes, which every reader reads.
        Ok(match from_bundle(&bytes) {
            Ok(envelope) => {
                let bare = serde_json::to_vec(&envelope).or_fail(Exit::Host, "cannot unwrap it")?;
                Came::Envelope(bare, Box::new(envelope))
            }
            Err(_) => Came::Bundle(bytes),
        })
    }

    fn claimed_path(&self, came: &Came) -> Result<String, Failure> {
        match came {
            Came::Bundle(bytes) => claimed_path(bytes).or_fail(Exit::Input, self.no_verdict()),
            Came::Envelope(_, envelope) => {
                let claimed = envelope.claimed_payload().or_fail(Exit::Input, self.no_verdict())?;
                let claimed: Statement<Value> =
                    serde_json::from_slice(&claimed).or_fail(Exit::Input, self.no_verdict())?;
                Ok(claimed.subject.first().map(|s| s.name.clone()).unwrap_or_default())
            }
        }
    }

    fn envelope(
        &self,
        repository: &Repository,
        release: &Release,
        bytes: &[u8],
    ) -> Result<Stored, Failure> {
        let verified =
            attestation::verify(bytes, release).or_fail(Exit::Untrusted, self.refused())?;
        let (who, says) = match &verified {
            VerifiedAttestation::Provenance(key, _) => (key, "how it was built".to_owned()),
            VerifiedAttestation::Verdict(verdict) => {
                (verdict.rebuilder(), outcome(verdict.outcome()))
            }
        };
        let artifact = release.artifact.sha256;
        let digest = repository.attest(&artifact, bytes)?;
        Ok(Stored { who: who.to_string(), says, path: layout::attestation(&artifact, &digest) })
    }

    fn bundle(
        &self,
        repository: &Repository,
        published: &Published,
        release: &Release,
        bytes: &[u8],
    ) -> Result<Stored, Failure> {
        let root = trusted_root(repository, published)?;
        let verified = verify_by_anyone(bytes, release, root.as_ref())
            .or_fail(Exit::Untrusted, self.refused())
            .map_err(|failure| match root {
                Some(_) => failure,
                None => failure.hint(
                    "publish the instance's keys first: countersign-metadata trusted-root --repo REPO trusted_root.json",
                ),
            })?;
        let says = match verified.says() {
            Says::Provenance(_) => "how it was built".to_owned(),
            Says::Verdict { rebuild, .. } => outcome(&rebuild.outcome),
        };
        let who = match verified.by() {
            SignedBy::Keyless(signer) => {
                format!("{} (keyless, vouched for by {})", signer.identity, signer.issuer)
            }
            SignedBy::Key(key) => key.to_string(),
        };
        let artifact = release.artifact.sha256;
        let digest = repository.attest_bundle(&artifact, bytes)?;
        Ok(Stored { who, says, path: layout::bundle(&artifact, &digest) })
    }

    fn no_verdict(&self) -> String {
        format!("{} is no signed statement", self.verdict.display())
    }

    fn refused(&self) -> String {
        format!("{} was refused", self.verdict.display())
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Reproduced => "that it was reproduced".to_owned(),
        Outcome::Divergence { sha256 } => format!("that a rebuild gave {sha256}"),
        Outcome::DidNotBuild { reason } => format!("that it did not build: {reason}"),
    }
}

/// The trusted root as nodes see it: signed by keyholders, and these very bytes.
fn trusted_root(
    repository: &Repository,
    published: &Published,
) -> Result<Option<TrustedRoot>, Failure> {
    let Some(listed) = published.trusted_root() else { return Ok(None) };
    let path = repository.public().join(layout::target(TARGET, &listed.sha256));
    let bytes = disk::read(&path, listed.length)?;
    if Sha256::of(&bytes) != listed.sha256 {
        let sentence = format!("{} is not the trusted root that is signed", path.display());
        return Err(Failure::new(Exit::Untrusted, sentence)
            .hint("restore it from a mirror or from the draft that brought it"));
    }
    let root = TrustedRoot::parse(&bytes)
        .or_fail(Exit::Input, format!("{} cannot be used", path.display()))?;
    Ok(Some(root))
}
