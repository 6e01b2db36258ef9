//! in-toto Statements v1: SLSA provenance v1 by builders, verification summaries v1 as rebuilders' verdicts,
//! and what an artifact did in a node's shadow.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::Algorithm;
use crate::release::Environment;
use crate::{PublicKey, Release, Sha256};

/// `_type` of a statement.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of SLSA provenance.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// `predicateType` of a SLSA verification summary.
pub const SUMMARY: &str = "https://slsa.dev/verification_summary/v1";
/// `predicateType` of what an artifact did in a node's shadow.
pub const SHADOW: &str = "https://countersign.dev/shadow-report/v1";
/// The build type of our provenance.
pub const BUILD_TYPE: &str = "https://countersign.dev/build/v1";
/// The policy that a verdict speaks about: the same bytes.
pub const POLICY: &str = "https://countersign.dev/policy/reproduced/v1";

/// Who a statement that nobody has signed yet says that it is by: nobody in particular.
pub const UNSIGNED: &str = "urn:countersign:unsigned-builder";

/// A statement about artifacts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement<P> {
    /// Always [`STATEMENT`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What it says, by type.
    pub predicate_type: String,
    /// What it says.
    pub predicate: P,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// A target path.
    pub name: String,
    /// Its digests.
    pub digest: Digests,
}

/// The digests of a subject or resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// For artifacts: of the canonical tar.
    pub sha256: Sha256,
}

const MINISIGN: &str = "minisign:";

/// Who signed a statement: the key itself, so that a verdict needs no directory of keys to be checked.
pub fn identity(key: &PublicKey) -> String {
    match key.algorithm() {
        Algorithm::Ed25519 => format!("{MINISIGN}{key}"),
        // It says already what it is: `p256:…`.
        Algorithm::P256 => key.to_string(),
    }
}

/// The key in an [`identity`].
pub fn identity_key(id: &str) -> Option<PublicKey> {
    let key: PublicKey = id.strip_prefix(MINISIGN).unwrap_or(id).parse().ok()?;
    // One spelling a key: verdicts of one rebuilder are found by comparing identities.
    (identity(&key) == id).then_some(key)
}

/// SLSA provenance v1: how an artifact was made. Kept as JSON below its two fixed fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was asked for.
    pub build_definition: BuildDefinition,
    /// Who did it.
    pub run_details: RunDetails,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// Always [`BUILD_TYPE`].
    pub build_type: String,
    /// Product, version, platform, recipe, lock.
    pub external_parameters: Value,
    /// Host, kernel, builder version: not needed to reproduce.
    #[serde(default)]
    pub internal_parameters: Value,
    /// Source, environment and inputs, by digest.
    pub resolved_dependencies: Vec<Resource>,
}

/// A resource by digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// Its name without a host.
    pub name: String,
    /// Its digest.
    pub digest: Digests,
}

/// Who did it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunDetails {
    /// The builder, by [`identity`].
    pub builder: Builder,
    /// When.
    pub metadata: RunMetadata,
}

/// A builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// Its [`identity`].
    pub id: String,
}

/// When a build ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunMetadata {
    /// When it began.
    pub started_on: jiff::Timestamp,
    /// When it ended.
    pub finished_on: jiff::Timestamp,
}

/// A verification summary: a rebuilder's verdict about a published digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Who says so, by [`identity`].
    pub verifier: Builder,
    /// When.
    pub time_verified: jiff::Timestamp,
    /// The target path.
    pub resource_uri: String,
    /// Always [`POLICY`].
    pub policy: Policy,
    /// The verdict.
    pub verification_result: VerificationResult,
    /// SLSA asks for the list; rebuilding claims no level.
    #[serde(default)]
    pub verified_levels: Vec<String>,
    /// What was rebuilt, and with what result.
    pub countersign: Rebuild,
}

/// A policy, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub uri: String,
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VerificationResult {
    /// The same bytes came out.
    Passed,
    /// They did not.
    Failed,
}

/// What a rebuild used and what came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// What came out.
    pub outcome: Outcome,
    /// SHA-256 of `countersign.toml`.
    pub recipe: Sha256,
    /// SHA-256 of `countersign.lock`.
    pub lock: Sha256,
    /// The source tar.
    pub source: Sha256,
    /// The environment it was rebuilt in.
    pub environment: Environment,
}

/// What came out of a rebuild: nobody may confuse "differs" with "does not build".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Outcome {
    /// The published bytes.
    Reproduced,
    /// Other bytes, with this digest.
    Divergence {
        /// The canonical tar that came out.
        sha256: Sha256,
    },
    /// No bytes, for this reason.
    DidNotBuild {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Compares what was published with what came out.
    pub fn compare(published: &Sha256, rebuilt: &Sha256) -> Self {
        if published == rebuilt { Self::Reproduced } else { Self::Divergence { sha256: *rebuilt } }
    }
}

/// What an artifact did in the shadow of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// Who saw it, by [`identity`].
    pub observer: Builder,
    /// When it was said.
    pub time_reported: jiff::Timestamp,
    /// Whether it did nothing that it may not: the report's own verdict.
    pub verification_result: VerificationResult,
    /// The report as the node keeps it: SHA-256 of its file.
    pub report_digest: Digests,
    /// All of it.
    pub report: Value,
}

/// Builds a rebuilder's verdict about `release`.
pub fn verdict(
    release: &Release,
    verifier: &PublicKey,
    now: jiff::Timestamp,
    environment: Environment,
    outcome: Outcome,
) -> Statement<Summary> {
    verdict_by(identity(verifier), release, now, environment, outcome)
}

/// As [`verdict`], by nobody yet ([`UNSIGNED`]): whoever signs it keyless gives it a name.
pub fn unsigned_verdict(
    release: &Release,
    now: jiff::Timestamp,
    environment: Environment,
    outcome: Outcome,
) -> Statement<Summary> {
    verdict_by(UNSIGNED.to_owned(), release, now, environment, outcome)
}

fn verdict_by(
    id: String,
    release: &Release,
    now: jiff::Timestamp,
    environment: Environment,
    outcome: Outcome,
) -> Statement<Summary> {
    let passed = outcome == Outcome::Reproduced;
    Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![subject(release)],
        predicate_type: SUMMARY.to_owned(),
        predicate: Summary {
            verifier: Builder { id },
            time_verified: whole_seconds(now),
            resource_uri: release.target_path(),
            policy: Policy { uri: POLICY.to_owned() },
            verification_result: if passed {
                VerificationResult::Passed
            } else {
                VerificationResult::Failed
            },
            verified_levels: Vec::new(),
            countersign: Rebuild {
                outcome,
                recipe: release.recipe,
                lock: release.lock,
                source: release.source.sha256,
                environment,
            },
        },
    }
}

/// The same moment without fractions of a second: statements are read by people.
pub fn whole_seconds(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// The subject of every statement about a release: its target path and the digest of its canonical tar.
pub fn subject(release: &Release) -> Subject {
    Subject { name: release.target_path(), digest: Digests { sha256: release.artifact.sha256 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_in_its_one_spelling_only() {
        let ed25519 = PublicKey::ed25519([7; 32]);
        let pem = include_str!("key/test-vectors/p256.pem");
        let p256 = PublicKey::from_file_text(pem).unwrap();
        for key in [ed25519, p256] {
            assert_eq!(identity_key(&identity(&key)), Some(key));
        }
        assert_eq!(identity_key(&ed25519.to_string()), None);
        assert_eq!(identity_key(&format!("minisign:{p256}")), None);
    }
}
