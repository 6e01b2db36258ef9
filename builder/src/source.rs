//! Sources become one canonical tar, which is an input like the others: what is built is what was digested.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_metadata::release::Blob;

use crate::Inside;
use crate::inputs::{InputError, Inputs};
use crate::pack::{self, Cap, PackError, Plan, Strip, UnpackError};

/// A canonical source tar in the store of inputs.
#[derive(Clone, Debug)]
pub struct SourceTar {
    /// The file.
    pub path: PathBuf,
    /// Its digest and length.
    pub blob: Blob,
}

/// Why there is no source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be part of a canonical archive.
    #[error("the source cannot be packed")]
    Pack(#[from] PackError),
    /// An archive of the source is refused.
    #[error("the source archive {name} cannot be unpacked")]
    Unpack {
        /// The archive.
        name: String,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// git does not say which files are tracked.
    #[error("git does not list the files of {dir}: {what}")]
    Git {
        /// The directory.
        dir: PathBuf,
        /// What git said.
        what: String,
    },
    /// The store of inputs fails.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A directory cannot be read or made.
    #[error("cannot lay the source out: {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The recipe's own directory: the files that git tracks in it, or, where git tracks none, every file and link. Recipe
/// and lock are not part of it (they are inputs of their own), nor is `.git`, nor the directory `except`.
///
/// # Errors
/// A file has no place in a canonical archive, or git fails.
pub fn of_directory(
    dir: &Path,
    except: Option<&Path>,
    epoch: u64,
    inputs: &Inputs,
) -> Result<SourceTar, SourceError> {
    let plan = match git_tracked(dir)? {
        Some(paths) => {
            let members = paths.into_iter().map(|path| {
                let at = path.below(dir);
                (path, at)
            });
            Plan::new(members)?
        }
        None => every_file(dir, except)?,
    };
    pack_source(&plan, epoch, inputs)
}

/// Archives, unpacked in order into one tree, the first path segment stripped.
///
/// # Errors
/// An archive is refused, or two hold the same path.
pub fn of_archives(
    archives: &[(String, PathBuf)],
    epoch: u64,
    inputs: &Inputs,
) -> Result<SourceTar, SourceError> {
    let failed = |source| SourceError::Io { path: PathBuf::from("a scratch directory"), source };
    let dir = tempfile::Builder::new().prefix("countersign-").tempdir().map_err(failed)?;
    for (name, path) in archives {
        let refused = |source| SourceError::Unpack { name: name.clone(), source };
        let archive = pack::open(path).map_err(refused)?;
        pack::unpack(archive, dir.path(), Cap::default(), Strip::First).map_err(refused)?;
    }
    pack_source(&Plan::of_directory(dir.path())?, epoch, inputs)
}

fn pack_source(plan: &Plan, epoch: u64, inputs: &Inputs) -> Result<SourceTar, SourceError> {
    let (path, blob) =
        inputs.add_written(|sink| pack::write_tar(plan, epoch, sink).map_err(SourceError::from))?;
    Ok(SourceTar { path, blob })
}

fn is_own(path: &str) -> bool {
    path == crate::recipe::FILE || path == crate::lock::FILE
}

/// The paths that git tracks in `dir`; `None` where it tracks none, or there is no work tree.
fn git_tracked(dir: &Path) -> Result<Option<Vec<Inside>>, SourceError> {
    let real =
        dir.canonicalize().map_err(|source| SourceError::Io { path: dir.to_owned(), source })?;
    if !real.ancestors().any(|above| above.join(".git").exists()) {
        return Ok(None);
    }
    let failed = |what: String| SourceError::Git { dir: dir.to_owned(), what };
    // A work tree's own configuration may name programs for git to run, and a missing object may be fetched by one.
    let output = Command::new("git")
        .args(["--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(["-c", "core.untrackedCache=false", "-c", "protocol.allow=never"])
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .arg("-C")
        .arg(&real)
        .args(["ls-files", "-z", "--cached", "--stage"])
        .output()
        .map_err(|e| failed(format!("it cannot be run: {e}")))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let text =
        String::from_utf8(output.stdout).map_err(|_| failed("a path is not UTF-8".to_owned()))?;
    let mut paths = Vec::new();
    for line in text.split_terminator('\0') {
        let Some((about, path)) = line.split_once('\t') else { continue };
        if about.starts_with("160000 ") {
            return Err(failed(format!(
                "{path} is a submodule, which this version does not build"
            )));
        }
        if !about.ends_with(" 0") {
            return Err(failed(format!("{path} has a merge conflict")));
        }
        if !is_own(path) {
            paths.push(path.parse().map_err(|e| failed(format!("{e}")))?);
        }
    }
    Ok((!paths.is_empty()).then_some(paths))
}

fn every_file(dir: &Path, except: Option<&Path>) -> Result<Plan, SourceError> {
    let failed = |source| SourceError::Io { path: dir.to_owned(), source };
    let except = except.and_then(|path| path.canonicalize().ok());
    let mut members = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_except = except.is_some() && path.canonicalize().ok() == except;
        if is_own(&name) || name == ".git" || is_except {
            continue;
        }
        let inside = name
            .parse()
            .map_err(|e| PackError::Refused { path: name.clone(), what: format!("{e}") })?;
        members.push((inside, path));
    }
    Ok(Plan::new(members)?)
}

/// A source tar that is at hand already.
///
/// # Errors
/// It is not.
pub fn stored(blob: &Blob, inputs: &Inputs) -> Result<SourceTar, SourceError> {
    let input = countersign_metadata::release::Input { name: "source".to_owned(), blob: *blob };
    Ok(SourceTar { path: inputs.get(&input)?, blob: *blob })
}

/// The file names in a source tar; for tests and for people.
///
/// # Errors
/// It cannot be read.
pub fn names(tar: &SourceTar) -> Result<Vec<String>, UnpackError> {
    let mut names = Vec::new();
    let failed = |source| UnpackError::Io { path: tar.path.clone(), source };
    let file = File::open(&tar.path).map_err(failed)?;
    pack::each(file, Cap::default(), Strip::Nothing, &mut |member, _| {
        names.push(member.path.to_string());
        Ok(())
    })?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, arguments: &[&str]) {
        let status =
            Command::new("git").arg("-C").arg(dir).args(arguments).output().unwrap().status;
        assert!(status.success(), "{arguments:?}");
    }

    #[test]
    fn a_work_tree_is_what_git_tracks_and_another_directory_is_all_it_holds() {
        let cache = tempfile::tempdir().unwrap();
        let inputs = Inputs::open(cache.path(), Vec::new()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.c", "ignored.o", crate::recipe::FILE, crate::lock::FILE] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        std::fs::create_dir(dir.path().join("out")).unwrap();
        std::fs::write(dir.path().join("out/x"), "x").unwrap();
        let out = dir.path().join("out");

        let all = of_directory(dir.path(), Some(&out), 0, &inputs).unwrap();
        assert_eq!(names(&all).unwrap(), ["a.c", "ignored.o"]);
        git(dir.path(), &["init", "-q"]);
        let untracked = of_directory(dir.path(), Some(&out), 0, &inputs).unwrap();
        assert_eq!(untracked.blob, all.blob);
        git(dir.path(), &["add", "a.c", crate::recipe::FILE]);
        let tracked = of_directory(dir.path(), None, 0, &inputs).unwrap();
        assert_eq!(names(&tracked).unwrap(), ["a.c"]);
    }

    #[test]
    fn a_monitor_that_the_work_trees_configuration_names_is_not_run() {
        let cache = tempfile::tempdir().unwrap();
        let inputs = Inputs::open(cache.path(), Vec::new()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let ran = cache.path().join("ran");
        git(dir.path(), &["init", "-q"]);
        std::fs::write(dir.path().join("a.c"), "a").unwrap();
        git(dir.path(), &["add", "a.c"]);
        let monitor = dir.path().join("monitor");
        std::fs::write(&monitor, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&monitor, mode).unwrap();
        git(dir.path(), &["config", "core.fsmonitor", monitor.to_str().unwrap()]);
        let tracked = of_directory(dir.path(), None, 0, &inputs).unwrap();
        assert_eq!(names(&tracked).unwrap(), ["a.c"]);
        assert!(!ran.exists());
    }
}
