//! Unpacks an archive into a fresh directory. Links are made last, so that nothing is written through one.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use super::read::{Cap, Kind, Member, Strip, UnpackError, each};
use crate::Inside;

/// Unpacks a tar into `to`, which exists. A member that is there already is refused, so several archives may
/// share a directory but not a path. Files become 0755 or 0644 by the owner's execute bit.
///
/// # Errors
/// A member is refused, or a file cannot be written. `to` then holds a part, which the caller discards.
pub fn unpack(archive: impl Read, to: &Path, cap: Cap, strip: Strip) -> Result<(), UnpackError> {
    let mut tree = Tree::new(to);
    each(archive, cap, strip, &mut |member, body| tree.add(member, body))?;
    tree.finish()
}

/// A tree that is being unpacked, whatever its members are read from.
pub(crate) struct Tree<'a> {
    to: &'a Path,
    links: BTreeMap<String, (Inside, String)>,
}

impl<'a> Tree<'a> {
    /// A tree in a directory that exists.
    pub(crate) fn new(to: &'a Path) -> Self {
        Self { to, links: BTreeMap::new() }
    }

    /// Takes one member in.
    pub(crate) fn add(&mut self, member: &Member, body: &mut dyn Read) -> Result<(), UnpackError> {
        if self.links.contains_key(member.path.as_str()) {
            return Err(refused(&member.path, "it is there twice"));
        }
        if member.path.parents().any(|parent| self.links.contains_key(parent)) {
            return Err(refused(&member.path, "it lies below a link"));
        }
        write(member, body, self.to, &mut self.links)
    }

    /// Makes the links.
    pub(crate) fn finish(self) -> Result<(), UnpackError> {
        let Self { to, links } = self;
        for (path, target) in links.values() {
            make_parents(path, to)?;
            symlink(target, path.below(to)).map_err(|e| clash(path, e))?;
        }
        let root = to.canonicalize().map_err(|e| clash_path(to, e))?;
        for (path, _) in links.values() {
            // A chain of links can leave where each of them seems to stay.
            if path.below(to).canonicalize().is_ok_and(|end| !end.starts_with(&root)) {
                return Err(refused(path, "it leads out of the tree"));
            }
        }
        Ok(())
    }
}

fn write(
    member: &Member,
    body: &mut dyn Read,
    to: &Path,
    links: &mut BTreeMap<String, (Inside, String)>,
) -> Result<(), UnpackError> {
    let at = member.path.below(to);
    match &member.kind {
        Kind::Directory => {
            make_parents(&member.path, to)?;
            match fs::create_dir(&at) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_real_dir(&at) => Ok(()),
                other => other.map_err(|e| clash(&member.path, e)),
            }
        }
        Kind::File => {
            make_parents(&member.path, to)?;
            let mode = if member.mode & 0o100 == 0 { 0o644 } else { 0o755 };
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&at)
                .map_err(|e| clash(&member.path, e))?;
            let copied = io::copy(body, &mut file)
                .and_then(|n| file.flush().map(|()| n))
                .and_then(|n| file.set_permissions(Permissions::from_mode(mode)).map(|()| n))
                .map_err(|e| clash_path(&at, e))?;
            if copied == member.length {
                Ok(())
            } else {
                Err(refused(&member.path, "the archive ends inside it"))
            }
        }
        Kind::Symlink(target) => {
            if at.symlink_metadata().is_ok() {
                return Err(refused(&member.path, "it is there twice"));
            }
            links.insert(member.path.to_string(), (member.path.clone(), target.clone()));
            Ok(())
        }
        Kind::Hardlink(first) => {
            make_parents(&member.path, to)?;
            let first_at = first.below(to);
            if !fs::symlink_metadata(&first_at).is_ok_and(|m| m.is_file()) {
                return Err(refused(&member.path, "it links to no earlier file"));
            }
            fs::hard_link(&first_at, &at).map_err(|e| clash(&member.path, e))
        }
    }
}

/// Makes the directories above a member. None of them is a link: links are made last.
fn make_parents(path: &Inside, to: &Path) -> Result<(), UnpackError> {
    for parent in path.parents() {
        let at = to.join(parent);
        match fs::create_dir(&at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_real_dir(&at) => {}
            Err(e) => return Err(clash(path, e)),
        }
    }
    Ok(())
}

fn is_real_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

fn refused(path: &Inside, what: &str) -> UnpackError {
    UnpackError::Refused { member: path.to_string(), what: what.to_owned() }
}

fn clash(path: &Inside, error: io::Error) -> UnpackError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => refused(path, "it is there twice"),
        _ => UnpackError::Io { path: path.as_str().into(), source: error },
    }
}

fn clash_path(path: &Path, source: io::Error) -> UnpackError {
    UnpackError::Io { path: path.to_owned(), source }
}
