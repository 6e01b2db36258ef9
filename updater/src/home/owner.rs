//! Whose a node directory is, and what of it others may not even open.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::HomeError;
use crate::durable::OnDisk;

/// Fails unless this process is its owner.
pub(super) fn only(path: &Path) -> Result<(), HomeError> {
    let owner = Uid::from_raw(fs::metadata(path).on_disk("read", path)?.uid());
    let me = Uid::effective();
    if owner == me {
        return Ok(());
    }
    Err(HomeError::NotOwner { path: path.to_owned(), owner: name(owner), me: name(me) })
}

pub(super) fn name(user: Uid) -> String {
    match User::from_uid(user) {
        Ok(Some(user)) => user.name,
        _ => format!("#{user}"),
    }
}

/// Closes those of `folders` that are there to everybody else (mode 0700), if all of them are ours.
pub(super) fn close(folders: impl Iterator<Item = PathBuf>) -> Result<(), HomeError> {
    let folders: Vec<_> = folders.filter(|folder| folder.exists()).collect();
    folders.iter().try_for_each(|folder| only(folder))?;
    for folder in &folders {
        if fs::metadata(folder).on_disk("read", folder)?.mode() & 0o077 != 0 {
            fs::set_permissions(folder, Permissions::from_mode(0o700))
                .on_disk("close to others", folder)?;
        }
    }
    Ok(())
}
