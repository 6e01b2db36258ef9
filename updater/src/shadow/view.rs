//! What a payload has as `/state`: a copy of its own, or a layer above a snapshot that stays as it is.
//!
//! ```text
//! NODE/shadow/state/          the snapshot: any number of payloads start from it
//! NODE/shadow/above/NAME/     upper/ is what one of them wrote, work/ is the kernel's; or copy/
//! ```

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use countersign_sandbox::{Error, Mount, Sandbox};

use super::ShadowError;
use super::room::STATE;
use super::written::WrittenSeen;
use crate::config::ShadowState;
use crate::durable::{DiskError, OnDisk};
use crate::state::copy::{Copier, Pass, check_space};
use crate::state::{StateError, shadow_copy};
use crate::{Config, Home};

/// What a layer needs of this machine and its file systems, as the sandbox names it.
const NEEDED: [&str; 2] = ["overlay", "id-mapped mount"];

/// What a payload writes to as `/state`.
#[derive(Clone, Debug)]
pub(super) enum StateView {
    /// A directory that is its own.
    Own(PathBuf),
    /// A layer above a directory that stays as it is.
    Overlay { lower: PathBuf, upper: PathBuf, work: PathBuf },
}

impl StateView {
    /// A fresh view of `snapshot`, which stays as it is. `name` is of one payload: what an earlier one of that name wrote
    /// is gone.
    pub(super) fn above(
        home: &Home,
        config: &Config,
        snapshot: &Path,
        name: &str,
    ) -> Result<Self, ShadowError> {
        let dir = shadow_copy::above(home, name).map_err(Box::new)?;
        if config.shadow.state == ShadowState::Overlay {
            let view = Self::layer(snapshot, &dir)?;
            match view.probe() {
                Err(ShadowError::Sandbox(Error::Missing { capability, .. }))
                    if NEEDED.contains(&capability.as_str()) => {}
                probed => return probed.map(|()| view),
            }
        }
        let copy = dir.join("copy");
        let copied = || -> Result<(), StateError> {
            check_space(snapshot, &home.shadow(), 1, config.free_space)?;
            Copier::new(snapshot, &copy)?.pass(Pass::Still).map(drop)
        };
        copied().map_err(Box::new)?;
        Ok(Self::Own(copy))
    }

    /// A layer above `lower` in the empty directory `dir`.
    pub(super) fn layer(lower: &Path, dir: &Path) -> Result<Self, DiskError> {
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        for path in [&upper, &work] {
            DirBuilder::new().mode(0o700).create(path).on_disk("make", path)?;
        }
        // The payload sees this one's mode as the state's.
        let mode = fs::metadata(lower).on_disk("look at", lower)?.permissions();
        fs::set_permissions(&upper, mode).on_disk("prepare", &upper)?;
        Ok(Self::Overlay { lower: lower.to_owned(), upper, work })
    }

    /// Whether this machine can make it of these directories: a sandbox is set up with it, and has nothing to run.
    fn probe(&self) -> Result<(), ShadowError> {
        match Sandbox::new(vec!["/nothing".into()]).mount(self.mount()).run() {
            Ok(_) | Err(Error::Program { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn mount(&self) -> Mount {
        let to = STATE.into();
        match self.clone() {
            Self::Own(from) => Mount::Writable { from, to },
            Self::Overlay { lower, upper, work } => Mount::Overlay { lower, upper, work, to },
        }
    }

    /// The directory outside that gets what the payload writes.
    pub(super) fn written_to(&self) -> &Path {
        match self {
            Self::Own(dir) => dir,
            Self::Overlay { upper, .. } => upper,
        }
    }

    /// All directories that the payload sees as one.
    pub(super) fn seen(&self) -> Vec<&Path> {
        match self {
            Self::Own(dir) => vec![dir],
            Self::Overlay { lower, upper, .. } => vec![lower, upper],
        }
    }

    /// What was written so far, when no payload runs; `None` where it is not told apart from what was there.
    pub(super) fn written(&self) -> Result<Option<WrittenSeen>, DiskError> {
        match self {
            Self::Own(_) => Ok(None),
            Self::Overlay { lower, upper, .. } => WrittenSeen::read(lower, upper).map(Some),
        }
    }
}
