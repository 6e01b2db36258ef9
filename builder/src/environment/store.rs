//! The store of environments: `CACHE/environments/DIGEST/`, read-only trees, verified each time one is entered.
//!
//! `CACHE/environments/of-KEY` remembers what was put together here before: the tree's digest, then the names of the files
//! that lost their set-uid bits, a line each. Only what this machine has unpacked itself is remembered, never what a
//! lock says of itself.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;

use super::EnvironmentError;
use super::digests::Digests;
use super::gather::Gathered;
use super::listing::Listing;
use super::tree::Tree;
use crate::scratch::Scratch;

/// The directory of all trees.
pub(crate) fn dir(cache: &Path) -> PathBuf {
    cache.join("environments")
}

/// The tree with the digest of what was gathered: the stored one if it is still whole, else a new copy.
pub(super) fn enter(
    gathered: &Gathered,
    cache: &Path,
) -> Result<(PathBuf, Sha256), EnvironmentError> {
    with(cache, |dir, digests| {
        let sha256 = gathered.listing(digests)?.sha256();
        find_or_make(sha256, dir, digests, &|to| copy(gathered, to))
    })
}

/// The same of what was put together.
pub(super) fn enter_tree(tree: &Tree, cache: &Path) -> Result<(PathBuf, Sha256), EnvironmentError> {
    with(cache, |dir, digests| {
        find_or_make(tree.listing().sha256(), dir, digests, &|to| {
            tree.lay_out(to).and_then(|()| seal(to)).map_err(|e| EnvironmentError::io(to, e))
        })
    })
}

/// A tree that was put together here before.
pub(super) struct Remembered {
    pub(super) root: PathBuf,
    pub(super) sha256: Sha256,
    pub(super) tamed: Vec<String>,
}

/// Longest record of a tree.
const MAX_RECORD: u64 = 16 << 20;

/// The tree that the same inputs gave before, if it is there and still whole.
pub(super) fn remembered(
    key: &Sha256,
    cache: &Path,
) -> Result<Option<Remembered>, EnvironmentError> {
    with(cache, |dir, digests| {
        let record = crate::files::read_limited_no_link(&record(dir, key), MAX_RECORD);
        let Ok(text) = record.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
        else {
            return Ok(None);
        };
        let mut lines = text.lines();
        let Some(sha256) = lines.next().and_then(|line| line.parse::<Sha256>().ok()) else {
            return Ok(None);
        };
        let root = dir.join(sha256.to_string());
        let tamed = lines.map(str::to_owned).collect();
        let whole = is_whole(&root, &sha256, digests);
        if whole {
            crate::cache::used(&root);
        }
        Ok(whole.then_some(Remembered { root, sha256, tamed }))
    })
}

/// Remembers what inputs gave. Losing it costs time only, so an error is no failure.
pub(super) fn remember(key: &Sha256, sha256: &Sha256, tamed: &[String], cache: &Path) {
    let text =
        format!("{sha256}\n{}", tamed.iter().map(|name| format!("{name}\n")).collect::<String>());
    let _costs_time_only = crate::files::write_durably(&record(&dir(cache), key), text.as_bytes());
}

/// The digest of a stored tree, every file of it read.
pub(crate) fn hash(root: &Path) -> Result<Sha256, EnvironmentError> {
    Ok(Listing::of_tree(root, &mut Digests::none())?.sha256())
}

/// Removes a stored tree. It loses its name first, so that what is left by an interruption is swept.
pub(crate) fn remove(root: &Path) -> io::Result<()> {
    let gone = Scratch::in_dir(root.parent().unwrap_or(root), ".new-")?;
    fs::rename(root, gone.path().join("tree"))
}

/// Forgets what gave trees that are not there any more.
pub(crate) fn forget_missing(cache: &Path) {
    let dir = dir(cache);
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with("of-")
            && let Ok(bytes) = crate::files::read_limited_no_link(&path, MAX_RECORD)
            && let Some(sha256) = String::from_utf8_lossy(&bytes).lines().next()
            && !dir.join(sha256).exists()
        {
            // It would only be found not to lead anywhere.
            _ = fs::remove_file(&path);
        }
    }
}

fn record(dir: &Path, key: &Sha256) -> PathBuf {
    dir.join(format!("of-{key}"))
}

fn with<T>(
    cache: &Path,
    work: impl FnOnce(&Path, &mut Digests) -> Result<T, EnvironmentError>,
) -> Result<T, EnvironmentError> {
    let dir = dir(cache);
    fs::create_dir_all(&dir).map_err(|e| EnvironmentError::io(&dir, e))?;
    crate::scratch::sweep(&dir, &[".new-", ".spool-"]);
    let mut digests = Digests::load(cache);
    let result = work(&dir, &mut digests);
    digests.save();
    result
}

fn find_or_make(
    sha256: Sha256,
    dir: &Path,
    digests: &mut Digests,
    make: &dyn Fn(&Path) -> Result<(), EnvironmentError>,
) -> Result<(PathBuf, Sha256), EnvironmentError> {
    let root = dir.join(sha256.to_string());
    if is_whole(&root, &sha256, digests) {
        crate::cache::used(&root);
        return Ok((root, sha256));
    }
    let fresh = Scratch::in_dir(dir, ".new-").map_err(|e| EnvironmentError::io(dir, e))?;
    let copied = make(fresh.path())
        .and_then(|()| Listing::of_tree(fresh.path(), digests))
        .and_then(|listing| match listing.sha256() == sha256 {
            true => Ok(()),
            false => Err(EnvironmentError::Changed),
        })
        .and_then(|()| put(fresh.path(), &root, &sha256, digests));
    copied.map(|()| (root, sha256))
}

fn is_whole(root: &Path, sha256: &Sha256, digests: &mut Digests) -> bool {
    root.is_dir() && Listing::of_tree(root, digests).is_ok_and(|found| found.sha256() == *sha256)
}

/// Renames the new tree into its place. A damaged one gives way; one that another process has put there
/// meanwhile is as good as ours.
fn put(
    fresh: &Path,
    root: &Path,
    sha256: &Sha256,
    digests: &mut Digests,
) -> Result<(), EnvironmentError> {
    let failed = |e| EnvironmentError::io(root, e);
    if root.exists() {
        if is_whole(root, sha256, digests) {
            return crate::files::remove_tree(fresh).map_err(failed);
        }
        crate::files::remove_tree(root).map_err(failed)?;
    }
    fs::rename(fresh, root).map_err(failed)
}

fn copy(gathered: &Gathered, to: &Path) -> Result<(), EnvironmentError> {
    for (inside, from) in &gathered.files {
        let at = to.join(inside);
        copy_file(from, &at).map_err(|e| EnvironmentError::io(from, e))?;
    }
    for (inside, target) in &gathered.links {
        let at = to.join(inside);
        make_parent(&at)
            .and_then(|()| symlink(target, &at))
            .map_err(|e| EnvironmentError::io(&at, e))?;
    }
    seal(to).map_err(|e| EnvironmentError::io(to, e))
}

fn copy_file(from: &Path, at: &Path) -> io::Result<()> {
    crate::interrupt::check()?;
    make_parent(at)?;
    let mut source = File::open(from)?;
    let executable = source.metadata()?.permissions().mode() & 0o111 != 0;
    let mut file = File::create_new(at)?;
    io::copy(&mut source, &mut file)?;
    file.set_permissions(Permissions::from_mode(if executable { 0o555 } else { 0o444 }))
}

fn make_parent(at: &Path) -> io::Result<()> {
    match at.parent() {
        Some(parent) => fs::create_dir_all(parent),
        None => Ok(()),
    }
}

/// Directories that the build's user may search, and nobody may write.
fn seal(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            seal(&entry.path())?;
        }
    }
    fs::set_permissions(dir, Permissions::from_mode(0o555))
}
