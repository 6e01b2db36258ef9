//! Verdicts about a release, verified: who reproduced it, who saw other bytes.

use serde::{Deserialize, Serialize};

use crate::dsse::{BadEnvelope, Envelope};
use crate::statement::{
    Outcome, PROVENANCE, Provenance, Rebuild, STATEMENT, SUMMARY, Statement, Summary,
    VerificationResult, identity_key, subject,
};
use crate::{PublicKey, Release, Sha256};

/// `attestations/SHA256/index.json`: the envelopes about one artifact. Unsigned: each envelope speaks for itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Index {
    /// Digests of the envelopes as files.
    pub envelopes: Vec<Sha256>,
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
    let malformed = |e: serde_json::Error| BadEnvelope::Statement(e.to_string());
    let wrong = |what: &str| BadEnvelope::Statement(what.to_owned());
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(malformed)?;
    let claimed: Statement<serde_json::Value> =
        serde_json::from_slice(&envelope.claimed_payload()?).map_err(malformed)?;
    let named = match claimed.predicate_type.as_str() {
        SUMMARY => claimed.predicate.pointer("/verifier/id"),
        PROVENANCE => claimed.predicate.pointer("/runDetails/builder/id"),
        other => return Err(wrong(&format!("predicate type {other:?} is not known"))),
    };
    let key =
        named.and_then(|id| identity_key(id.as_str()?)).ok_or_else(|| wrong("it names no key"))?;
    let payload = envelope.verify(&key)?;

    if claimed.kind != STATEMENT {
        return Err(wrong("not an in-toto Statement v1"));
    }
    if claimed.subject != [subject(release)] {
        return Err(wrong("it is about another artifact"));
    }
    if claimed.predicate_type == PROVENANCE {
        let statement: Statement<Provenance> =
            serde_json::from_slice(&payload).map_err(malformed)?;
        return Ok(VerifiedAttestation::Provenance(key, Box::new(statement.predicate)));
    }
    let Summary { time_verified, verification_result, countersign: rebuild, .. } =
        serde_json::from_slice::<Statement<Summary>>(&payload).map_err(malformed)?.predicate;
    let passed = verification_result == VerificationResult::Passed;
    if passed != (rebuild.outcome == Outcome::Reproduced) {
        return Err(wrong("its result and its outcome disagree"));
    }
    if (rebuild.recipe, rebuild.lock, rebuild.source)
        != (release.recipe, release.lock, release.source.sha256)
    {
        return Err(wrong("it rebuilt another recipe, lock or source"));
    }
    Ok(VerifiedAttestation::Verdict(VerifiedVerdict { rebuilder: key, at: time_verified, rebuild }))
}
