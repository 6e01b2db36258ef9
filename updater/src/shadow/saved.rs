//! Reports as the node keeps them: `NODE/reports/SHA256.json`. What is read here is a claim of the disk, for people.

use std::fs;
use std::io;
use std::time::SystemTime;

use countersign_metadata::statement::{
    Builder, Digests, SHADOW, STATEMENT, Statement, Subject, Tried, VerificationResult, identity,
};
use countersign_metadata::{PublicKey, Sha256};
use jiff::Timestamp;

use super::report::{Report, Verdict};
use super::{MAX_REPORT, ShadowError};
use crate::Home;
use crate::durable::{self, DiskError, OnDisk};

/// A report and the bytes that it was read from.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What it says.
    pub report: Report,
    /// When it was written.
    pub at: SystemTime,
    bytes: Vec<u8>,
}

/// The saved report about an artifact.
///
/// # Errors
/// It is there and cannot be read.
pub fn saved(home: &Home, artifact: &Sha256) -> Result<Option<Report>, DiskError> {
    let path = home.report(artifact);
    let Some(bytes) = durable::read(&path, MAX_REPORT)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from).on_disk("read", &path)
}

/// All saved reports, the newest first. What is none is passed over: a later version of this program may have written it.
///
/// # Errors
/// The directory cannot be read.
pub fn all(home: &Home) -> Result<Vec<Saved>, DiskError> {
    let dir = home.reports();
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).on_disk("read", &dir)? {
        let path = entry.on_disk("read", &dir)?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let at = fs::metadata(&path).and_then(|meta| meta.modified()).on_disk("read", &path)?;
        let Some(bytes) = durable::read(&path, MAX_REPORT)? else { continue };
        let Ok(report) = serde_json::from_slice(&bytes) else { continue };
        found.push(Saved { report, at, bytes });
    }
    found.sort_by_key(|saved| std::cmp::Reverse(saved.at));
    Ok(found)
}

impl Saved {
    /// The report as a statement by `observer`, to be signed and published.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn statement(
        &self,
        observer: &PublicKey,
        now: Timestamp,
    ) -> Result<Statement<Tried>, ShadowError> {
        let Report { product, version, artifact, verdict, .. } = &self.report;
        let cleared = *verdict == Verdict::Cleared;
        let report = serde_json::from_slice(&self.bytes).map_err(ShadowError::NotWritten)?;
        Ok(Statement {
            kind: STATEMENT.to_owned(),
            subject: vec![Subject {
                name: format!("{product} {version}"),
                digest: Digests { sha256: *artifact },
            }],
            predicate_type: SHADOW.to_owned(),
            predicate: Tried {
                observer: Builder { id: identity(observer) },
                time_reported: now,
                verification_result: match cleared {
                    true => VerificationResult::Passed,
                    false => VerificationResult::Failed,
                },
                report_digest: Digests { sha256: Sha256::of(&self.bytes) },
                report,
            },
        })
    }
}
