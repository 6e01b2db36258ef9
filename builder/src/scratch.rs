//! Scratch whose owner holds a lock on it while it lives: what a killed builder left behind is nobody's, and is swept.
//!
//! A lock on the file or directory itself (`flock`) ends with the process, however that ends. Nothing is taken that another
//! user owns, that has another name, or that somebody holds.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What scratch is called in the machine's directory for it.
const OURS: &str = "countersign-scratch-";
/// How often it is tried to be quicker than a sweeper.
const TRIES: u32 = 16;

/// A directory for one run; removed when dropped, and by a later run where this one was killed.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
    _held: File,
}

impl Scratch {
    /// A directory in `$TMPDIR` that nobody else may enter. What killed builders left there goes.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn of_machine() -> io::Result<Self> {
        let dir = std::env::temp_dir();
        sweep(&dir, &[OURS]);
        Self::in_dir(&dir, OURS)
    }

    /// A directory in `dir`, which the caller sweeps.
    pub(crate) fn in_dir(dir: &Path, prefix: &str) -> io::Result<Self> {
        for _ in 0..TRIES {
            let dir = tempfile::Builder::new()
                .prefix(prefix)
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir_in(dir)?;
            let Ok(held) = open(dir.path()) else { continue };
            held.lock()?;
            if is_at(&held, dir.path()) {
                return Ok(Self { dir, _held: held });
            }
        }
        Err(io::Error::other("somebody removes scratch as soon as it is made"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves what it holds to people, under a name that is never swept.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn keep(self, prefix: &str) -> io::Result<PathBuf> {
        let beside = self.path().parent().unwrap_or(Path::new("/tmp"));
        let kept = tempfile::Builder::new().prefix(prefix).tempdir_in(beside)?.keep();
        fs::rename(self.path(), &kept)?;
        Ok(kept)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a build made may forbid its own removal. What stays is swept later.
        let _stays = crate::files::remove_tree(self.dir.path());
    }
}

/// A file that will be renamed into its place in `dir`; removed when dropped, and swept where its maker was killed.
pub(crate) fn file(dir: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    for _ in 0..TRIES {
        let file = tempfile::Builder::new().prefix(prefix).tempfile_in(dir)?;
        file.as_file().lock()?;
        if is_at(file.as_file(), file.path()) {
            return Ok(file);
        }
    }
    Err(io::Error::other("somebody removes new files as soon as they are made"))
}

/// Removes what has one of these names in `dir` and is held by nobody who lives. What cannot be removed stays.
pub(crate) fn sweep(dir: &Path, prefixes: &[&str]) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            let _stays = sweep_one(&entry.path());
        }
    }
}

fn sweep_one(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let is_ours = meta.uid() == nix::unistd::geteuid().as_raw();
    if !is_ours || !(meta.is_dir() || meta.is_file()) {
        return Ok(());
    }
    let held = open(path)?;
    // Its owner lives; or it is another by now.
    if held.try_lock().is_err() || !is_at(&held, path) {
        return Ok(());
    }
    if meta.is_dir() { crate::files::remove_tree(path) } else { fs::remove_file(path) }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    File::options().read(true).custom_flags(flags).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|a| fs::symlink_metadata(path).is_ok_and(|b| same(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_living_hold_stays_and_what_nobody_holds_goes() {
        let dir = tempfile::tempdir().unwrap();
        let held = Scratch::in_dir(dir.path(), ".new-").unwrap();
        fs::write(held.path().join("x"), "x").unwrap();
        let writing = file(dir.path(), ".new-").unwrap();
        fs::create_dir_all(dir.path().join(".new-dead/closed/x")).unwrap();
        let closed = fs::Permissions::from_mode(0o555);
        fs::set_permissions(dir.path().join(".new-dead/closed"), closed).unwrap();
        fs::write(dir.path().join(".new-file"), "x").unwrap();
        fs::write(dir.path().join("other"), "x").unwrap();
        fs::write(dir.path().join("victim"), "x").unwrap();
        std::os::unix::fs::symlink("victim", dir.path().join(".new-link")).unwrap();
        sweep(dir.path(), &[".new-"]);
        assert!(held.path().join("x").exists() && writing.path().exists());
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| dir.path().join(name) != *held.path())
            .filter(|name| dir.path().join(name) != *writing.path())
            .collect();
        names.sort();
        assert_eq!(names, [".new-link", "other", "victim"]);
    }
}
