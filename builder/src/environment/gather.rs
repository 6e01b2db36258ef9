//! What belongs to an environment: path inside, and where it comes from on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::EnvironmentError;
use super::digests::Digests;
use super::listing::{Entry, Listing};

/// Documentation and translations: no build needs them, and they are most of the files.
const LEFT_OUT: [&str; 9] = [
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/bash-completion",
    "usr/local",
];
/// Links at the top that make `/bin/sh` and the loader be found where `/usr` is merged.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Files and links of an environment to be.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Path inside → path on the machine.
    pub(super) files: BTreeMap<String, PathBuf>,
    /// Path inside → link target.
    pub(super) links: BTreeMap<String, String>,
    parts: BTreeSet<String>,
}

impl Gathered {
    /// Says what something was gathered from.
    pub(super) fn part(&mut self, part: String) {
        self.parts.insert(part);
    }

    pub(super) fn parts(&self) -> Vec<String> {
        self.parts.iter().cloned().collect()
    }

    /// Takes a file or link of the machine to `inside`. What is not there, or is a directory, is skipped.
    pub(super) fn take(&mut self, inside: String, from: &Path) -> Result<(), EnvironmentError> {
        let Ok(meta) = fs::symlink_metadata(from) else { return Ok(()) };
        if meta.is_symlink() {
            let target = fs::read_link(from).map_err(|e| EnvironmentError::io(from, e))?;
            self.links.insert(inside, target.to_string_lossy().into_owned());
        } else if meta.is_file() {
            self.files.insert(inside, from.to_owned());
        }
        Ok(())
    }

    /// Takes a path of the machine to the same place inside, with links in its directories resolved (so that
    /// `/lib/x` of a merged machine is taken to `usr/lib/x`).
    pub(super) fn take_here(
        &mut self,
        path: &Path,
        resolved: &mut BTreeMap<PathBuf, PathBuf>,
    ) -> Result<(), EnvironmentError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        if !resolved.contains_key(parent) {
            let Ok(real) = parent.canonicalize() else { return Ok(()) };
            resolved.insert(parent.to_owned(), real);
        }
        let real = resolved[parent].join(name);
        let Some(inside) = real.to_str().and_then(|p| p.strip_prefix('/')) else { return Ok(()) };
        if is_left_out(inside) {
            return Ok(());
        }
        self.take(inside.to_owned(), &real)
    }

    /// Links at the top of the machine that its programs rely on.
    pub(super) fn take_merged(&mut self) -> Result<(), EnvironmentError> {
        for name in MERGED {
            let path = Path::new("/").join(name);
            if path.is_symlink() {
                self.take(name.to_owned(), &path)?;
            }
        }
        Ok(())
    }

    /// Commands that the machine's administrator chose among alternatives (`cc`, `awk`): the choice itself, if
    /// what was chosen is here.
    pub(super) fn take_alternatives(&mut self) -> Result<(), EnvironmentError> {
        let bin = Path::new("/usr/bin");
        for entry in fs::read_dir(bin).map_err(|e| EnvironmentError::io(bin, e))? {
            let entry = entry.map_err(|e| EnvironmentError::io(bin, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            if !target.starts_with("/etc/alternatives") {
                continue;
            }
            let Ok(chosen) = fs::read_link(&target) else { continue };
            let chosen_inside = chosen.strip_prefix("/").unwrap_or(&chosen).to_string_lossy();
            let here = self.files.contains_key(&*chosen_inside)
                || self.links.contains_key(&*chosen_inside);
            if here {
                self.links.insert(format!("usr/bin/{name}"), chosen.to_string_lossy().into_owned());
            }
        }
        Ok(())
    }

    /// The listing that the tree will have, from the machine's files.
    pub(super) fn listing(&self, digests: &mut Digests) -> Result<Listing, EnvironmentError> {
        let mut listing = Listing::default();
        for (inside, from) in &self.files {
            let (executable, sha256) = digests.of(from)?;
            listing.add(inside.clone(), Entry::File { executable, sha256 });
        }
        for (inside, target) in &self.links {
            listing.add(inside.clone(), Entry::Link(target.clone()));
        }
        Ok(listing)
    }

    /// Takes everything below a directory of the machine that `wanted` says yes to, by its path inside.
    pub(super) fn take_tree(
        &mut self,
        inside: &str,
        from: &Path,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(), EnvironmentError> {
        let failed = |e| EnvironmentError::io(from, e);
        for entry in fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = format!("{inside}/{}", entry.file_name().to_string_lossy());
            if !wanted(&path) {
                continue;
            }
            let meta = entry.metadata().map_err(failed)?;
            if meta.is_dir() {
                self.take_tree(&path, &entry.path(), wanted)?;
            } else if meta.mode() & 0o444 != 0 {
                self.take(path, &entry.path())?;
            }
        }
        Ok(())
    }
}

/// All of `/usr` but documentation, where no package manager can say what belongs to what.
pub(super) fn whole_machine(gathered: &mut Gathered) -> Result<(), EnvironmentError> {
    gathered.take_merged()?;
    let tops = ["usr"].into_iter().chain(MERGED).filter(|top| {
        let path = Path::new("/").join(top);
        !path.is_symlink() && path.is_dir()
    });
    for top in tops {
        gathered.take_tree(top, &Path::new("/").join(top), &|path| !is_left_out(path))?;
    }
    gathered.take_alternatives()?;
    gathered.part("the machine's /usr".to_owned());
    Ok(())
}

fn is_left_out(inside: &str) -> bool {
    let outside = !inside.starts_with("usr/") && !MERGED.iter().any(|m| inside.starts_with(m));
    outside || is_documentation(inside)
}

/// Whether this is what only people read.
pub(super) fn is_documentation(inside: &str) -> bool {
    LEFT_OUT.iter().any(|out| {
        inside.strip_prefix(out).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}
