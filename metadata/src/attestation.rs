//! Verdicts about a release, verified: who reproduced it, who saw other bytes.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::dsse::{BadEnvelope, Envelope};
use crate::statement::{
    BUILD_TYPE, Digests, Outcome, POLICY, PROVENANCE, Provenance, Rebuild, STATEMENT, SUMMARY,
    Statement, Summary, VerificationResult, identity_key, subject,
};
use crate::{PublicKey, Release, Sha256};

/// `attestations/SHA256/index.json`: the envelopes about one artifact. Unsigned: each envelope speaks for itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Index {
    /// Digests of the envelopes as files.
    pub envelopes: Vec<Sha256>,
    /// Digests of the Sigstore bundles as files. Readers that know no bundles pass them over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<Sha256>,
}

/// A verdict whose signature, subject, and inputs have been checked against a release.
#[derive(Clone, Debug)]
pub struct VerifiedVerdict {
    rebuilder: PublicKey,
    at: jiff::Timestamp,
    rebuild: Rebuild,
}

impl VerifiedVerdict {
    /// Whose key signed it.
    pub fn rebuilder(&self) -> &PublicKey {
        &self.rebuilder
    }

    /// When the rebuilder says that it happened.
    pub fn at(&self) -> jiff::Timestamp {
        self.at
    }

    /// What came out.
    pub fn outcome(&self) -> &Outcome {
        &self.rebuild.outcome
    }

    /// Whether the published bytes came out.
    pub fn reproduced(&self) -> bool {
        self.rebuild.outcome == Outcome::Reproduced
    }
}

/// What an envelope about a release turned out to be.
#[derive(Clone, Debug)]
pub enum VerifiedAttestation {
    /// A rebuilder's verdict.
    Verdict(VerifiedVerdict),
    /// How a builder says that it made the artifact.
    Provenance(PublicKey, Box<Provenance>),
}

/// Verifies one envelope about `release` with the key that it names itself.
///
/// Whether that key is anybody's is for the caller to judge: a stranger's verdict is still a verdict.
///
/// # Errors
/// The signature does not verify, or the statement is about something else.
pub fn verify(envelope: &[u8], release: &Release) -> Result<VerifiedAttestation, BadEnvelope> {
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(malformed)?;
    let named = claimed_signer(&envelope.claimed_payload()?)?;
    let key = identity_key(&named).ok_or_else(|| wrong("it names no key"))?;
    let payload = envelope.verify(&key)?;
    Ok(match bind(&payload, release)? {
        Says::Provenance(provenance) => VerifiedAttestation::Provenance(key, provenance),
        Says::Verdict { at, rebuild } => {
            VerifiedAttestation::Verdict(VerifiedVerdict { rebuilder: key, at, rebuild })
        }
    })
}

/// What a statement says about a release.
#[derive(Clone, Debug)]
pub enum Says {
    /// A rebuilder's verdict.
    Verdict {
        /// When the rebuilder says that it happened.
        at: jiff::Timestamp,
        /// What was rebuilt, and with what result.
        rebuild: Rebuild,
    },
    /// How a builder says that it made the artifact.
    Provenance(Box<Provenance>),
}

/// The signer that a payload names, unverified: only good for finding out whose key to verify with.
pub(crate) fn claimed_signer(payload: &[u8]) -> Result<String, BadEnvelope> {
    let claimed: Statement<serde_json::Value> =
        serde_json::from_slice(payload).map_err(malformed)?;
    let named = claimed.predicate.pointer(signer_pointer(&claimed.predicate_type)?);
    named.and_then(|id| id.as_str()).map(str::to_owned).ok_or_else(|| wrong("it names no signer"))
}

/// Where a predicate names its signer.
pub(crate) fn signer_pointer(predicate_type: &str) -> Result<&'static str, BadEnvelope> {
    match predicate_type {
        SUMMARY => Ok("/verifier/id"),
        PROVENANCE => Ok("/runDetails/builder/id"),
        other => Err(wrong(&format!("predicate type {other:?} is not known"))),
    }
}

/// The artifact of a statement that makes sense in itself, for whoever has no release to hold it against.
#[cfg(feature = "sigstore")]
pub(crate) fn stands(payload: &[u8]) -> Result<Sha256, BadEnvelope> {
    let claimed: Statement<serde_json::Value> =
        serde_json::from_slice(payload).map_err(malformed)?;
    if claimed.kind != STATEMENT {
        return Err(wrong("not an in-toto Statement v1"));
    }
    let [subject] = claimed.subject.as_slice() else {
        return Err(wrong("it is not about exactly one artifact"));
    };
    signer_pointer(&claimed.predicate_type)?;
    if claimed.predicate_type == SUMMARY {
        let summary: Statement<Summary> = serde_json::from_slice(payload).map_err(malformed)?;
        check_sense(&summary.predicate, &subject.name)?;
    } else {
        let _shape: Statement<Provenance> = serde_json::from_slice(payload).map_err(malformed)?;
    }
    Ok(subject.digest.sha256)
}

/// Holds a statement against `release`: its subject, and every part of its predicate that the release also states.
pub(crate) fn bind(payload: &[u8], release: &Release) -> Result<Says, BadEnvelope> {
    let claimed: Statement<serde_json::Value> =
        serde_json::from_slice(payload).map_err(malformed)?;
    if claimed.kind != STATEMENT {
        return Err(wrong("not an in-toto Statement v1"));
    }
    if claimed.subject != [subject(release)] {
        return Err(wrong("it is about another artifact"));
    }
    if claimed.predicate_type == PROVENANCE {
        let provenance =
            serde_json::from_slice::<Statement<Provenance>>(payload).map_err(malformed)?.predicate;
        check_provenance(&provenance, release)?;
        return Ok(Says::Provenance(Box::new(provenance)));
    }
    if claimed.predicate_type != SUMMARY {
        return Err(wrong(&format!("predicate type {:?} is not known", claimed.predicate_type)));
    }
    let summary =
        serde_json::from_slice::<Statement<Summary>>(payload).map_err(malformed)?.predicate;
    check_summary(&summary, release)?;
    let Summary { time_verified: at, countersign: rebuild, .. } = summary;
    Ok(Says::Verdict { at, rebuild })
}

fn check_provenance(provenance: &Provenance, release: &Release) -> Result<(), BadEnvelope> {
    let definition = &provenance.build_definition;
    if definition.build_type != BUILD_TYPE {
        return Err(wrong(&format!("build type {:?} is not known", definition.build_type)));
    }
    let asked = json!({
        "product": release.product,
        "version": release.version,
        "platform": release.platform,
        "recipe": release.recipe,
        "lock": release.lock,
    });
    if definition.external_parameters != asked {
        return Err(wrong("it built another product, version, platform, recipe or lock"));
    }
    // The lock pins the other inputs. The environment may be another: that is worth knowing, not refusing.
    let source = Digests { sha256: release.source.sha256 };
    if !definition.resolved_dependencies.iter().any(|resource| resource.digest == source) {
        return Err(wrong("it built another source"));
    }
    Ok(())
}

fn check_summary(summary: &Summary, release: &Release) -> Result<(), BadEnvelope> {
    check_sense(summary, &release.target_path())?;
    let rebuild = &summary.countersign;
    if (rebuild.recipe, rebuild.lock, rebuild.source)
        != (release.recipe, release.lock, release.source.sha256)
    {
        return Err(wrong("it rebuilt another recipe, lock or source"));
    }
    Ok(())
}

fn check_sense(summary: &Summary, path: &str) -> Result<(), BadEnvelope> {
    let rebuild = &summary.countersign;
    if summary.policy.uri != POLICY {
        return Err(wrong(&format!("policy {:?} is not known", summary.policy.uri)));
    }
    if summary.resource_uri != path {
        return Err(wrong("its subject and its resource are not the same"));
    }
    let passed = summary.verification_result == VerificationResult::Passed;
    if passed != (rebuild.outcome == Outcome::Reproduced) {
        return Err(wrong("its result and its outcome disagree"));
    }
    Ok(())
}

fn malformed(error: serde_json::Error) -> BadEnvelope {
    BadEnvelope::Statement(error.to_string())
}

fn wrong(what: &str) -> BadEnvelope {
    BadEnvelope::Statement(what.to_owned())
}
