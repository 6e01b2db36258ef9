//! Reads an artifact's tar as if an enemy had made it: three kinds of members, every name checked, all capped.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;
use tar::{Archive, EntryType};

use super::layout::{Layout, Segment};
use super::tape::{Tape, Tee};

/// Longest path, in bytes.
const MAX_PATH: usize = 4096;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link that stays inside.
    Link {
        /// Its text.
        target: String,
    },
    /// A further name of a file.
    HardLink {
        /// The first name.
        first: String,
    },
}

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A member that no artifact may hold.
    #[error("{member:?} {what}")]
    Member {
        /// Its name as written, shortened.
        member: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It unpacks to more bytes than were signed.
    #[error("it unpacks to more bytes than were signed")]
    TooLong,
    /// It cannot be read.
    #[error("it cannot be unpacked")]
    Broken(#[source] io::Error),
    /// A member cannot be written or read back.
    #[error("cannot unpack to {path}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Takes members as they come. `body` is empty but for files.
pub(super) trait Sink {
    fn take(&mut self, path: &str, kind: &Kind, body: &mut dyn Read) -> Result<(), Refusal>;
}

/// Takes nothing: the archive is only hashed.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn take(&mut self, path: &str, _kind: &Kind, body: &mut dyn Read) -> Result<(), Refusal> {
        copy(body, &mut io::sink(), Path::new(path))
    }
}

/// Copies a member's body: what cannot be read is the archive's fault, what cannot be written the disk's.
pub(super) fn copy(
    body: &mut dyn Read,
    to: &mut dyn io::Write,
    path: &Path,
) -> Result<(), Refusal> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match body.read(&mut buffer).map_err(broken)? {
            0 => return Ok(()),
            read => to
                .write_all(&buffer[..read])
                .map_err(|source| Refusal::Io { path: path.to_owned(), source })?,
        }
    }
}

/// What an archive turned out to be.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) sha256: Sha256,
    pub(super) layout: Layout,
}

/// Reads a whole tar of at most `length` bytes.
pub(super) fn read(
    tar: impl Read,
    length: u64,
    sink: &mut dyn Sink,
) -> Result<(Found, BTreeMap<String, Kind>), Refusal> {
    let tape = Tape::default();
    let mut archive = Archive::new(Tee::new(tar, length, tape.clone()));
    let mut members = BTreeMap::new();
    let mut segments = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let (path, kind) = member(&entry, &members)?;
        if matches!(kind, Kind::File { .. }) {
            segments.push(Segment::Raw(tape.cut()));
            segments.push(Segment::File { path: path.clone(), length: entry.size() });
            tape.skip(true);
            sink.take(&path, &kind, &mut entry)?;
            io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
            tape.skip(false);
        } else {
            sink.take(&path, &kind, &mut io::empty())?;
        }
        members.insert(path, kind);
    }
    let mut tee = archive.into_inner();
    io::copy(&mut tee, &mut io::sink()).map_err(broken)?;
    segments.push(Segment::Raw(tape.cut()));
    Ok((Found { sha256: tee.finish(), layout: Layout::new(segments) }, members))
}

fn broken(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Refusal::TooLong,
        _ => Refusal::Broken(error),
    }
}

/// Checks a member's name, kind and place among those before it.
fn member(
    entry: &tar::Entry<'_, impl Read>,
    before: &BTreeMap<String, Kind>,
) -> Result<(String, Kind), Refusal> {
    let written = entry.path_bytes();
    let refuse = |what| Refusal::Member {
        member: String::from_utf8_lossy(&written).chars().take(120).collect(),
        what,
    };
    let text = std::str::from_utf8(&written).map_err(|_| refuse("is not UTF-8"))?;
    let path = text.strip_suffix('/').unwrap_or(text);
    let plain = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains('\0');
    if path.len() > MAX_PATH || !path.split('/').all(plain) {
        return Err(refuse("is not a path inside the artifact"));
    }
    if before.contains_key(path) {
        return Err(refuse("is there twice"));
    }
    for (at, _) in path.match_indices('/') {
        if before.get(&path[..at]) != Some(&Kind::Directory) {
            return Err(refuse("lies below something that is not a directory of the artifact"));
        }
    }
    let target = entry.link_name_bytes().map(|bytes| String::from_utf8(bytes.into_owned()));
    let target = target.transpose().map_err(|_| refuse("has a target that is not UTF-8"))?;
    let kind = match entry.header().entry_type() {
        EntryType::Directory => Kind::Directory,
        EntryType::Regular => {
            let mode = entry.header().mode().map_err(|_| refuse("has no mode"))?;
            if mode & 0o7000 != 0 {
                return Err(refuse("is set-uid, set-gid or sticky"));
            }
            Kind::File { executable: mode & 0o100 != 0 }
        }
        EntryType::Symlink => {
            let target = target.unwrap_or_default();
            if !stays_inside(path, &target) {
                return Err(refuse("is a link that leaves the artifact"));
            }
            Kind::Link { target }
        }
        EntryType::Link => {
            let first = target.unwrap_or_default();
            if !matches!(before.get(&first), Some(Kind::File { .. })) {
                return Err(refuse("is a hard link to something that is not an earlier file"));
            }
            Kind::HardLink { first }
        }
        _ => return Err(refuse("is neither a file, a directory nor a link")),
    };
    if !matches!(kind, Kind::File { .. }) && entry.size() != 0 {
        return Err(refuse("has bytes where none belong"));
    }
    Ok((path.to_owned(), kind))
}

/// Whether a link at `path` stays inside. `..` may only lead: after a name it would leave from wherever that
/// name, perhaps another link, leads.
fn stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.len() > MAX_PATH || target.contains('\0') {
        return false;
    }
    let up = target.split('/').take_while(|segment| *segment == "..").count();
    let mut down = target.split('/').skip(up);
    up <= path.matches('/').count() && down.all(|s| !matches!(s, "" | "." | ".."))
}

/// What lies in a directory, in the terms of an archive. Nothing is followed.
pub(super) fn walk(tree: &Path) -> Result<BTreeMap<String, Kind>, Refusal> {
    let mut members = BTreeMap::new();
    let mut inodes = HashMap::new();
    let mut open = vec![String::new()];
    while let Some(dir) = open.pop() {
        let path = tree.join(&dir);
        let failed = |source| Refusal::Io { path: path.clone(), source };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = if dir.is_empty() {
                name.to_string_lossy().into_owned()
            } else {
                format!("{dir}/{}", name.to_string_lossy())
            };
            let meta = fs::symlink_metadata(entry.path()).map_err(failed)?;
            let kind = if meta.is_dir() {
                open.push(name.clone());
                Kind::Directory
            } else if meta.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(failed)?;
                Kind::Link { target: target.to_string_lossy().into_owned() }
            } else if meta.is_file() {
                let names: &mut Vec<String> = inodes.entry((meta.dev(), meta.ino())).or_default();
                names.push(name.clone());
                Kind::File { executable: meta.mode() & 0o100 != 0 }
            } else {
                return Err(Refusal::Member { member: name, what: "is a device, pipe or socket" });
            };
            members.insert(name, kind);
        }
    }
    for mut names in inodes.into_values() {
        names.sort();
        for name in names.split_off(1) {
            members.insert(name, Kind::HardLink { first: names[0].clone() });
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::stays_inside;

    #[test]
    fn a_link_may_go_up_only_as_far_as_the_artifact_and_only_at_its_beginning() {
        for (path, target) in [("a", "b"), ("a/b", "../c"), ("lib/x.so", "x.so.1"), ("a", "b/c")] {
            assert!(stays_inside(path, target), "{path} -> {target}");
        }
        for (path, target) in [
            ("a", ".."),
            ("a", "../b"),
            ("a/b", "../../c"),
            ("a", "/etc"),
            ("a", ""),
            // `x` may be a link to the top of the artifact: one more `..` leaves it.
            ("a/b/y", "x/.."),
            ("a", "b//c"),
        ] {
            assert!(!stays_inside(path, target), "{path} -> {target}");
        }
    }
}
