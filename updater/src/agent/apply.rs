//! `NODE/run/apply.json`: the operator wants a release now. Read at every look, removed when it was taken up.

use std::fs;
use std::io;
use std::path::PathBuf;

use countersign_metadata::Sha256;
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::durable::{self, DiskError};
use crate::machine::facts::Apply;
use crate::machine::{Ledger, State};

#[derive(Serialize, Deserialize)]
struct File {
    /// One release; none: whatever is offered next.
    artifact: Option<Sha256>,
}

/// What an `apply` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The release that is under way.
    ThisOne(Box<crate::machine::Candidate>),
    /// Whatever the repository offers.
    WhateverIsOffered,
    /// A swap has begun already: there is nothing to hurry.
    UnderWay,
}

fn path(home: &Home) -> PathBuf {
    home.run().join("apply.json")
}

/// Asks the agent, running or not, to take the release that is under way, or else the next that is offered, without
/// waiting for the hold-off. Nothing else is skipped.
///
/// # Errors
/// The disk fails.
pub fn ask_to_apply(home: &Home, ledger: &Ledger) -> Result<Asked, DiskError> {
    if ledger.state.swap().is_some() {
        return Ok(Asked::UnderWay);
    }
    let candidate = match &ledger.state {
        State::Committed { .. } | State::RolledBack { .. } => None,
        state => state.candidate().cloned(),
    };
    let bytes = serde_json::to_vec(&File { artifact: candidate.as_ref().map(|c| c.artifact) })
        .map_err(|error| DiskError::new("write", &path(home), error.into()))?;
    durable::write(&path(home), &bytes)?;
    Ok(candidate.map_or(Asked::WhateverIsOffered, |c| Asked::ThisOne(Box::new(c))))
}

/// Takes the request back, if there is one.
///
/// # Errors
/// The disk fails.
pub fn withdraw_apply(home: &Home) -> Result<(), DiskError> {
    match fs::remove_file(path(home)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("remove", &path(home), error))
        }
        _ => Ok(()),
    }
}

/// What the operator asks for. A file that cannot be read asks for nothing.
pub(super) fn read(home: &Home) -> Option<Apply> {
    let bytes = durable::read(&path(home), 1 << 10).ok()??;
    let file: File = serde_json::from_slice(&bytes).ok()?;
    Some(file.artifact.map_or(Apply::Next, Apply::Only))
}
