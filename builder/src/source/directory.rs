//! The recipe's own directory as a source: what git tracks there, and else all that it holds.

use std::path::Path;
use std::process::Command;

use super::{SourceError, SourceTar, pack_source};
use crate::Inside;
use crate::inputs::Inputs;
use crate::pack::{PackError, Plan};

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
            let mut members = Vec::new();
            for path in paths {
                let at = path.below(dir);
                check_tracked(dir, &path)?;
                members.push((path, at));
            }
            Plan::new(members)?
        }
        None => every_file(dir, except)?,
    };
    pack_source(&plan, epoch, inputs)
}

fn is_own(path: &str) -> bool {
    // A lock that was being written when its builder was killed is none of the source.
    let is_half = path.starts_with(crate::files::NEW);
    path == crate::recipe::FILE || path == crate::lock::FILE || is_half
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

/// An index is a list of names that anybody may have written: below a link in the work tree they would name files from
/// elsewhere, and in a directory's place all that it holds.
fn check_tracked(dir: &Path, path: &Inside) -> Result<(), SourceError> {
    let refused = |what: &str| PackError::Refused { path: path.to_string(), what: what.to_owned() };
    for parent in path.parents() {
        let meta = dir.join(parent).symlink_metadata();
        if meta.is_ok_and(|meta| meta.is_symlink()) {
            return Err(refused(&format!("git tracks it below {parent}, which is a link")).into());
        }
    }
    match path.below(dir).symlink_metadata() {
        Ok(meta) if meta.is_dir() => {
            Err(refused("git tracks a file of that name, which is a directory").into())
        }
        _ => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::names;

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
    fn a_tracked_name_below_a_link_brings_no_file_of_the_machine_in() {
        let cache = tempfile::tempdir().unwrap();
        let inputs = Inputs::open(cache.path(), Vec::new()).unwrap();
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(elsewhere.path().join("secret"), "s").unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/secret"), "tracked").unwrap();
        git(dir.path(), &["init", "-q"]);
        git(dir.path(), &["add", "a/secret"]);
        std::fs::remove_dir_all(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("a")).unwrap();
        let error = of_directory(dir.path(), None, 0, &inputs).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains("a/secret") && text.contains("which is a link"), "{text}");

        std::fs::remove_file(dir.path().join("a")).unwrap();
        std::fs::create_dir_all(dir.path().join("a/secret")).unwrap();
        std::fs::write(dir.path().join("a/secret/untracked"), "u").unwrap();
        assert!(of_directory(dir.path(), None, 0, &inputs).is_err());
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
