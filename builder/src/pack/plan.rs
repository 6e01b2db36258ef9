//! What goes into an archive: a walk that follows nothing and refuses what has no canonical form.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

use super::{PackError, header};
use crate::Inside;

/// Longest file that a ustar header can describe.
const MAX_FILE: u64 = (1 << 33) - 1;

/// Everything that an archive will hold, sorted, measured.
#[derive(Clone, Debug)]
pub struct Plan {
    entries: Vec<Entry>,
}

/// A member of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it lies in the archive.
    pub path: Inside,
    /// What it is.
    pub body: Body,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Where its bytes are.
        from: PathBuf,
        /// How many.
        length: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: String,
    },
}

impl Plan {
    /// Plans an archive of `members`: where each lies in the archive, and the file, link or directory (taken
    /// with all it holds) on disk.
    ///
    /// # Errors
    /// Something cannot be read or has no canonical form.
    pub fn new(members: impl IntoIterator<Item = (Inside, PathBuf)>) -> Result<Self, PackError> {
        let mut bodies = BTreeMap::new();
        for (path, from) in members {
            take(&mut bodies, path, &from)?;
        }
        add_parents(&mut bodies)?;
        refuse_twins(bodies.keys())?;
        let entries = bodies.into_iter().map(|(path, body)| Entry { path, body }).collect();
        Ok(Self { entries })
    }

    /// Plans an archive of everything in a directory.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn of_directory(dir: &Path) -> Result<Self, PackError> {
        let members = children(dir)?
            .into_iter()
            .map(|name| {
                let path = name.parse().map_err(|e| PackError::refused(&name, format!("{e}")))?;
                Ok((path, dir.join(&name)))
            })
            .collect::<Result<Vec<_>, PackError>>()?;
        Self::new(members)
    }

    /// An archive of these, which the caller has looked at and sorted.
    pub(crate) fn of_entries(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// The members in the order of the archive.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The length of the tar, in bytes.
    pub fn tar_length(&self) -> u64 {
        let members = self.entries.iter().map(|entry| {
            let body = match entry.body {
                Body::File { length, .. } => length + header::padding(length) as u64,
                _ => 0,
            };
            header::of(entry, 0).len() as u64 + body
        });
        members.sum::<u64>() + 1024
    }
}

fn take(bodies: &mut BTreeMap<Inside, Body>, path: Inside, from: &Path) -> Result<(), PackError> {
    let failed = |source| PackError::Io { path: from.to_owned(), source };
    let meta = fs::symlink_metadata(from).map_err(failed)?;
    let kind = meta.file_type();
    let body = if kind.is_dir() {
        for name in children(from)? {
            let member = path
                .join(&name)
                .map_err(|e| PackError::refused(from.join(&name).display(), e.to_string()))?;
            take(bodies, member, &from.join(&name))?;
        }
        Body::Directory
    } else if kind.is_symlink() {
        let target = fs::read_link(from).map_err(failed)?;
        let stays = target.to_str().filter(|target| path.link_stays(target));
        let target = stays.ok_or_else(|| {
            PackError::refused(&path, format!("its target {target:?} leaves the tree"))
        })?;
        Body::Symlink { target: target.to_owned() }
    } else if kind.is_file() {
        if meta.mode() & 0o6000 != 0 {
            return Err(PackError::refused(&path, "it is set-uid or set-gid"));
        }
        if meta.len() > MAX_FILE {
            return Err(PackError::refused(&path, "it is longer than 8 GiB"));
        }
        Body::File {
            from: from.to_owned(),
            length: meta.len(),
            executable: meta.mode() & 0o100 != 0,
        }
    } else {
        return Err(PackError::refused(&path, "it is a device, pipe or socket"));
    };
    match bodies.insert(path.clone(), body) {
        None => Ok(()),
        Some(_) => Err(PackError::refused(&path, "it is there twice")),
    }
}

fn children(dir: &Path) -> Result<Vec<String>, PackError> {
    let failed = |source| PackError::Io { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.push(utf8(dir, &name)?);
    }
    Ok(names)
}

fn utf8(dir: &Path, name: &OsStr) -> Result<String, PackError> {
    match name.to_str() {
        Some(name) => Ok(name.to_owned()),
        None => Err(PackError::refused(dir.join(name).display(), "its name is not UTF-8")),
    }
}

fn add_parents(bodies: &mut BTreeMap<Inside, Body>) -> Result<(), PackError> {
    let mut missing = Vec::new();
    for path in bodies.keys() {
        for parent in path.parents() {
            let parent: Inside =
                parent.parse().map_err(|e| PackError::refused(path, format!("{e}")))?;
            match bodies.get(&parent) {
                Some(Body::Directory) => {}
                Some(_) => {
                    return Err(PackError::refused(path, format!("{parent} is no directory")));
                }
                None => missing.push(parent),
            }
        }
    }
    bodies.extend(missing.into_iter().map(|parent| (parent, Body::Directory)));
    Ok(())
}

/// A name as disks see it that fold case and Unicode's forms: decomposed, with ß as ss, ſ as s, Σ and ς as σ.
fn folded(name: &str) -> String {
    let folded = name.nfd().flat_map(char::to_lowercase).flat_map(char::to_uppercase);
    // Character by character: of a whole word, the last sigma would differ.
    folded.flat_map(char::to_lowercase).nfd().collect()
}

/// On a disk that folds names the second of two such names overwrites the first.
fn refuse_twins<'a>(paths: impl Iterator<Item = &'a Inside>) -> Result<(), PackError> {
    let mut seen = HashMap::new();
    for path in paths {
        if let Some(twin) = seen.insert(folded(path.as_str()), path) {
            let what = format!("it differs from {twin} in case only, or in how Unicode writes it");
            return Err(PackError::refused(path, what));
        }
    }
    Ok(())
}
