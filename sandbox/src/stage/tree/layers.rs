//! A directory that the payload changes and that stays as it is: an overlay above a sealed, id-mapped copy.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::source::{NODEV, NOSUID, RDONLY};
use crate::capability::{ID_MAP, MOUNTS, OVERLAY};
use crate::error::{Failure, Kind, Staged, Step};
use crate::sys::{self, Detached, FsContext};

/// Lays `upper` over `lower`. With `map`, owners in `lower` are seen as it says; without it, the caller is a plain user.
pub(super) fn lay(
    lower: &Path,
    upper: &Path,
    work: &Path,
    map: Option<&OwnedFd>,
) -> Staged<Detached> {
    let below = Detached::copy_of(lower).fail(Kind::Mount, lower.display().to_string())?;
    if let Some(map) = map {
        below.map_ids(map.as_fd()).map_err(|error| {
            let reason = format!("the file system of {} has none: {error}", lower.display());
            Failure::missing(ID_MAP, reason)
        })?;
    }
    below.seal(RDONLY | NOSUID | NODEV).needs(MOUNTS)?;
    // The kernel lays layers only over what is mounted somewhere: here, in this mount namespace only.
    let place = File::open(lower).fail(Kind::Mount, lower.display().to_string())?;
    below.attach(place.as_fd()).needs(MOUNTS)?;
    let above = directory(upper)?;
    let aside = directory(work)?;
    if map.is_none() {
        sys::takes_user_attributes(above.as_fd()).map_err(|error| {
            let reason = format!("{} cannot hold the marks of one: {error}", upper.display());
            Failure::missing(OVERLAY, reason)
        })?;
    }
    let layers = FsContext::open(c"overlay").needs(OVERLAY)?;
    // No path of the machine's is told by the mount table inside.
    let by_number = |fd: &dyn AsRawFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let set = || {
        layers.set(c"lowerdir", &by_number(&below.as_fd()))?;
        layers.set(c"upperdir", &by_number(&above))?;
        layers.set(c"workdir", &by_number(&aside))?;
        layers.set(c"index", "off")?;
        layers.set(c"metacopy", "off")?;
        if map.is_some() { layers.set(c"redirect_dir", "on") } else { layers.flag(c"userxattr") }
    };
    set().and_then(|()| layers.mount(NOSUID | NODEV)).map_err(|error: std::io::Error| {
        let (lower, upper) = (lower.display(), upper.display());
        Failure::missing(OVERLAY, format!("none can be had of {upper} above {lower}: {error}"))
    })
}

fn directory(path: &Path) -> Staged<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .fail(Kind::Mount, path.display().to_string())
}
