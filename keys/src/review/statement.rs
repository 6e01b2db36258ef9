//! in-toto statements, explained: provenance, rebuild verdicts and shadow reports. Other types are refused by name.

use std::fmt;

use countersign_metadata::statement::{
    BUILD_TYPE, Outcome, POLICY, PROVENANCE, Provenance, Rebuild, SHADOW, STATEMENT, SUMMARY,
    Statement, Subject, Summary, Tried, VerificationResult, identity_key,
};
use countersign_metadata::{PublicKey, Sha256};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::printable;
use crate::Refused;

const WHAT: &str = "the statement";

/// A statement, explained.
#[derive(Debug, Serialize)]
pub struct StatementReview {
    /// SHA-256 of the DSSE encoding: the message to be signed.
    pub message: Sha256,
    /// In whose name it speaks.
    pub speaks_for: PublicKey,
    /// What it is about.
    pub subject: Subject,
    /// What it says.
    pub says: Says,
    /// All of it.
    pub statement: Value,
}

/// What a statement says.
#[derive(Debug, Serialize)]
#[serde(tag = "says", rename_all = "kebab-case")]
pub enum Says {
    /// "I built this."
    Built {
        /// When the build began.
        started: Timestamp,
        /// When it ended.
        finished: Timestamp,
        /// How many inputs it names by digest.
        dependencies: usize,
    },
    /// "I rebuilt this, and …"
    Rebuilt {
        /// When.
        at: Timestamp,
        /// What was rebuilt, and what came out.
        rebuild: Rebuild,
    },
    /// "I ran this in a shadow, and …"
    Tried {
        /// When it was said.
        at: Timestamp,
        /// Whether it did nothing that it may not.
        cleared: bool,
        /// SHA-256 of the report's file.
        report: Sha256,
        /// How much there is to read in it, in bytes.
        length: usize,
    },
}

pub(super) fn review(payload: &[u8], message: Sha256) -> Result<StatementReview, Refused> {
    let statement: Value =
        serde_json::from_slice(payload).map_err(|e| Refused::malformed(WHAT, e))?;
    let kind = statement.get("predicateType").and_then(Value::as_str).unwrap_or_default();
    let (id, says, subject) = match kind {
        PROVENANCE => provenance(read(&statement)?)?,
        SUMMARY => summary(read(&statement)?)?,
        SHADOW => tried(read(&statement)?)?,
        other => {
            let field = format!("predicate type {other:?}");
            return Err(Refused::Unexplained { what: WHAT.to_owned(), field });
        }
    };
    if statement.get("_type").and_then(Value::as_str) != Some(STATEMENT) {
        return Err(Refused::malformed(WHAT, "not an in-toto Statement v1"));
    }
    let speaks_for = identity_key(&id)
        .ok_or_else(|| Refused::malformed(WHAT, format!("{id:?} names no minisign key")))?;
    let [subject] = <[Subject; 1]>::try_from(subject)
        .map_err(|_| Refused::malformed(WHAT, "it is not about exactly one artifact"))?;
    Ok(StatementReview { message, speaks_for, subject, says, statement })
}

fn read<P: DeserializeOwned>(statement: &Value) -> Result<Statement<P>, Refused> {
    serde_json::from_value(statement.clone()).map_err(|e| Refused::malformed(WHAT, e))
}

type Read = (String, Says, Vec<Subject>);

fn provenance(statement: Statement<Provenance>) -> Result<Read, Refused> {
    let Provenance { build_definition, run_details } = statement.predicate;
    if build_definition.build_type != BUILD_TYPE {
        let field = format!("build type {:?}", build_definition.build_type);
        return Err(Refused::Unexplained { what: WHAT.to_owned(), field });
    }
    let says = Says::Built {
        started: run_details.metadata.started_on,
        finished: run_details.metadata.finished_on,
        dependencies: build_definition.resolved_dependencies.len(),
    };
    Ok((run_details.builder.id, says, statement.subject))
}

fn summary(statement: Statement<Summary>) -> Result<Read, Refused> {
    let summary = statement.predicate;
    if summary.policy.uri != POLICY {
        let field = format!("policy {:?}", summary.policy.uri);
        return Err(Refused::Unexplained { what: WHAT.to_owned(), field });
    }
    let passed = summary.verification_result == VerificationResult::Passed;
    if passed != (summary.countersign.outcome == Outcome::Reproduced) {
        return Err(Refused::malformed(WHAT, "its result and its outcome disagree"));
    }
    if statement.subject.iter().any(|subject| subject.name != summary.resource_uri) {
        return Err(Refused::malformed(WHAT, "its subject and its resource are not the same"));
    }
    let says = Says::Rebuilt { at: summary.time_verified, rebuild: summary.countersign };
    Ok((summary.verifier.id, says, statement.subject))
}

fn tried(statement: Statement<Tried>) -> Result<Read, Refused> {
    let tried = statement.predicate;
    let cleared = tried.verification_result == VerificationResult::Passed;
    let said = tried.report.pointer("/verdict/verdict").and_then(Value::as_str);
    if said != Some(if cleared { "cleared" } else { "refused" }) {
        return Err(Refused::malformed(WHAT, "its result and its report disagree"));
    }
    let artifact = tried.report.get("artifact").and_then(Value::as_str);
    if statement.subject.iter().any(|s| artifact != Some(&s.digest.sha256.to_string())) {
        return Err(Refused::malformed(WHAT, "its subject and its report are not the same"));
    }
    let report = tried.report_digest.sha256;
    let (at, length) = (tried.time_reported, tried.report.to_string().len());
    let says = Says::Tried { at, cleared, report, length };
    Ok((tried.observer.id, says, statement.subject))
}

impl fmt::Display for StatementReview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = printable(&self.subject.name);
        writeln!(f, "Request to sign: a statement about {name}")?;
        writeln!(f, "  artifact     sha256 {}", self.subject.digest.sha256)?;
        writeln!(f, "  speaks for   {}", self.speaks_for)?;
        match &self.says {
            Says::Built { started, finished, dependencies } => {
                writeln!(f, "  says         I built this, from {started} to {finished},")?;
                writeln!(f, "               from {dependencies} inputs named by digest")?;
            }
            Says::Rebuilt { at, rebuild } => {
                let came = match &rebuild.outcome {
                    Outcome::Reproduced => "the same bytes came out".to_owned(),
                    Outcome::Divergence { sha256 } => format!("OTHER bytes came out: {sha256}"),
                    Outcome::DidNotBuild { reason } => {
                        format!("it did NOT BUILD: {}", printable(reason))
                    }
                };
                writeln!(f, "  says         I rebuilt this at {at}, and {came}")?;
                writeln!(f, "  recipe       sha256 {}", rebuild.recipe)?;
                writeln!(f, "  lock         sha256 {}", rebuild.lock)?;
                writeln!(f, "  source       sha256 {}", rebuild.source)?;
                writeln!(f, "  environment  sha256 {}", rebuild.environment.sha256)?;
            }
            Says::Tried { at, cleared, report, length } => {
                let did =
                    if *cleared { "it did nothing that it may not" } else { "it was REFUSED" };
                writeln!(f, "  says         I ran this in a shadow, and {did} (said at {at})")?;
                writeln!(
                    f,
                    "  report       sha256 {report}, {length} bytes, all of them published"
                )?;
            }
        }
        write!(f, "  signed       sha256 {} (of the DSSE encoding)", self.message)
    }
}
