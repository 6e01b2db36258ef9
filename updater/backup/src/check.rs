//! Looks whether a repository is whole.

use rustic_core::CheckOptions;
use serde::Serialize;

use crate::BackupError;
use crate::repository::{Repository, tidy};

/// What is wrong with a repository.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Copies need it, or will: it names the pack, index or file.
    pub errors: Vec<String>,
    /// Untidy, and harmless: most often what a cut-off upload left.
    pub warnings: Vec<String>,
}

/// Looks at every index, tree and pack, and, with `read_data`, at every byte.
///
/// # Errors
/// The store fails.
pub fn check(repository: &Repository, read_data: bool) -> Result<Findings, BackupError> {
    let mut options = CheckOptions::default();
    options.read_data = read_data;
    let results = repository.inner.check(options);
    let results = results.map_err(|error| repository.failed("check", &error))?;
    let mut findings = Findings::default();
    for (level, error) in results.0 {
        let text = tidy(&error.to_string());
        // The level's type has no name outside the library.
        match format!("{level:?}").as_str() {
            "Warn" => findings.warnings.push(text),
            _ => findings.errors.push(text),
        }
    }
    match repository.trouble.take() {
        // What a pack lacks, it was found to lack just now.
        Some(trouble) if findings.errors.is_empty() => Err(trouble),
        _ => Ok(findings),
    }
}
