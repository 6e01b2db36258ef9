//! Whether the version that runs can open a copy of its own state, in the sandbox: a snapshot that it cannot open is no
//! way back.

use std::path::Path;

use super::copy::{Copier, Pass, check_space};
use super::{Opened, Secrets, StateError, scratch, shadow_copy};
use crate::generation::Generation;
use crate::shadow::{self, Opening};
use crate::supervise::Client;
use crate::{Config, Home};

/// Opens one moment of the live state, while the node runs.
///
/// # Errors
/// It cannot be copied or tried, or the version that runs cannot open it.
pub fn rehearse(
    home: &Home,
    config: &Config,
    current: &Generation,
    supervisor: &Client,
) -> Result<Opened, StateError> {
    let (secrets, limit) = (Secrets::of(current), config.shadow.migrate);
    shadow_copy::make(home, current, supervisor, &secrets, config.free_space, limit)?;
    let opened = open(home, config, current, &shadow_copy::place(home));
    shadow_copy::discard(home)?;
    opened
}

/// Opens a copy of the tree of a snapshot, which stays as it is.
///
/// # Errors
/// As [`rehearse`].
pub fn snapshot(
    home: &Home,
    config: &Config,
    current: &Generation,
    tree: &Path,
) -> Result<Opened, StateError> {
    let copy = home.shadow().join("open");
    scratch::remove_below(&home.shadow(), &copy)?;
    check_space(tree, &home.shadow(), 1, config.free_space)?;
    Copier::without(&Secrets::of(current), tree, &copy)?.pass(Pass::Still)?;
    let opened = open(home, config, current, &copy);
    scratch::remove_below(&home.shadow(), &copy)?;
    opened
}

fn open(
    home: &Home,
    config: &Config,
    current: &Generation,
    copy: &Path,
) -> Result<Opened, StateError> {
    let by = current.version.clone();
    match shadow::open(home, config, current, copy).map_err(Box::new)? {
        Opening::Ready { after_ms } => Ok(Opened { by, ready_after_ms: after_ms }),
        Opening::Refused { reason } => Err(StateError::NotOpened { version: by, reason }),
    }
}
