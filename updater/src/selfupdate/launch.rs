//! The first thing that agent and supervisor do: become the program that `current` names, as often as it may be tried.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use countersign_metadata::Version;

use super::{Place, STARTS, me};
use crate::Home;
use crate::durable::DiskError;

/// Names the program that this process has become, so that one start is counted once.
pub const BECAME: &str = "COUNTERSIGN_UPDATER_BECAME";

/// What a program is started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The agent.
    Run,
    /// The supervisor.
    Supervise,
}

/// Becomes what `NODE/updater/current` names, with the same arguments. Returns where this program is the one to run, with
/// what is to be told about that.
///
/// # Errors
/// The disk fails.
pub fn become_current(home: &Home, role: Role) -> Result<Option<String>, DiskError> {
    let place = Place::of(home);
    let mut told = None;
    loop {
        let Some(program) = next(&place, role, &mut told)? else { return Ok(told) };
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let refused = Command::new(&program).args(arguments).env(BECAME, &program).exec();
        told = Some(format!("{} cannot be run: {refused}", program.display()));
        match place.attempt()? {
            Some(attempt) => place.put_back(&attempt, &format!("it cannot be run: {refused}"))?,
            None => return Ok(told),
        }
    }
}

/// The program to become; `None`: this one.
fn next(
    place: &Place,
    role: Role,
    told: &mut Option<String>,
) -> Result<Option<PathBuf>, DiskError> {
    let here = me();
    let became = std::env::var_os(BECAME).map(PathBuf::from);
    loop {
        let attempt = place.attempt()?;
        let Some(named) = place.named() else {
            if attempt.is_some() {
                place.settle()?;
            }
            return Ok(None);
        };
        let program = place.program();
        let Some(mut attempt) = attempt else {
            let newer =
                || place.version().is_some_and(|(_, version)| own_version() > Some(version));
            return Ok(program.filter(|program| Some(program) != here.as_ref() && !newer()));
        };
        if attempt.to != named {
            // Cut off before the rename, or after it was taken back.
            place.settle()?;
            continue;
        }
        let counted = became.is_some() && became == program && became == here;
        if counted {
            return Ok(None);
        }
        let tried = *attempt.starts(role);
        if program.is_none() || tried >= STARTS || place.bad().contains_key(&attempt.artifact) {
            let reason = match &program {
                None => "its file is gone".to_owned(),
                Some(_) => format!("it was started {STARTS} times and did not prove itself"),
            };
            *told = Some(format!("the updater {} is put back: {reason}", attempt.version));
            place.put_back(&attempt, &reason)?;
            continue;
        }
        *attempt.starts(role) += 1;
        place.note(&attempt)?;
        return Ok(program.filter(|program| Some(program) != here.as_ref()));
    }
}

/// The version of this program.
pub(super) fn own_version() -> Option<Version> {
    env!("CARGO_PKG_VERSION").parse().ok()
}
