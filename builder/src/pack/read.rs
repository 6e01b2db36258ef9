//! Reads archives that anybody may have made: every name checked, every amount capped.

use std::io::{self, Read};
use std::path::PathBuf;

use crate::Inside;
use crate::inside::MAX_PATH;

/// Why an archive is not read.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It cannot be read, or what it holds cannot be written.
    #[error("cannot unpack {path}")]
    Io {
        /// Which archive or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something that no archive of ours may hold.
    #[error("archive refused at {member:?}: {what}")]
    Refused {
        /// The member's name as written, shortened.
        member: String,
        /// What is wrong with it.
        what: String,
    },
    /// It holds more than is allowed.
    #[error("archive refused: it holds more than {0}")]
    TooMuch(String),
}

/// How much an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    /// Bytes of the tar, headers included.
    pub bytes: u64,
    /// Members.
    pub members: u64,
}

impl Default for Cap {
    fn default() -> Self {
        Self { bytes: countersign_metadata::layout::limit::ARTIFACT, members: 1 << 20 }
    }
}

/// What to take off members' paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// Nothing.
    Nothing,
    /// The first segment, as source archives have one.
    First,
}

/// A member whose name has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it belongs.
    pub path: Inside,
    /// What it is.
    pub kind: Kind,
    /// Its mode bits as written.
    pub mode: u32,
    /// Its body's length in bytes.
    pub length: u64,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link that stays inside.
    Symlink(String),
    /// A further name of an earlier file.
    Hardlink(Inside),
}

/// What else an archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Law {
    /// What has a place in sources and artifacts.
    Strict,
    /// A layer of a root file system: links lead where they like, as they are followed inside only; set-uid bits
    /// are the caller's to drop; a name with a backslash, as systemd's units have, is left out.
    Root,
}

/// Names that pax or GNU records gave to the member that follows.
#[derive(Default)]
struct Longer {
    path: Option<String>,
    target: Option<String>,
}

/// Calls `take` with each member of a tar and its body.
///
/// # Errors
/// The first member that is refused, or the error of `take`.
pub fn each(
    archive: impl Read,
    cap: Cap,
    strip: Strip,
    take: &mut dyn FnMut(&Member, &mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    each_by(Law::Strict, archive, cap, strip, take)
}

/// The same for a layer of a root file system: what a system may hold and an artifact may not is given too, but for
/// special files.
pub(crate) fn each_of_root(
    archive: impl Read,
    cap: Cap,
    take: &mut dyn FnMut(&Member, &mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    each_by(Law::Root, archive, cap, Strip::Nothing, take)
}

fn each_by(
    law: Law,
    archive: impl Read,
    cap: Cap,
    strip: Strip,
    take: &mut dyn FnMut(&Member, &mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let broken = |source| UnpackError::Io { path: PathBuf::from("the archive"), source };
    let mut tar = tar::Archive::new(Capped { inner: archive, left: cap.bytes });
    let mut longer = Longer::default();
    let mut count = 0;
    let result = (|| {
        for entry in tar.entries().map_err(broken)?.raw(true) {
            let mut entry = entry.map_err(broken)?;
            crate::interrupt::check().map_err(broken)?;
            count += 1;
            if count > cap.members {
                return Err(UnpackError::TooMuch(format!("{} members", cap.members)));
            }
            if extension(&mut entry, &mut longer)? {
                continue;
            }
            if let Some(member) = member(&entry, std::mem::take(&mut longer), strip, law)? {
                take(&member, &mut entry)?;
            }
        }
        Ok(())
    })();
    match result {
        Err(UnpackError::Io { source, .. }) if is_cap(&source) => {
            Err(UnpackError::TooMuch(format!("{} bytes", cap.bytes)))
        }
        other => other,
    }
}

/// Reads a record that describes the next member; `true` if this was one.
fn extension<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    longer: &mut Longer,
) -> Result<bool, UnpackError> {
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() {
        return Ok(true);
    }
    if !(kind.is_pax_local_extensions() || kind.is_gnu_longname() || kind.is_gnu_longlink()) {
        return Ok(false);
    }
    let name = shown(&entry.path_bytes());
    let refused = |what: &str| UnpackError::Refused { member: name.clone(), what: what.to_owned() };
    let limit = 4 * MAX_PATH as u64;
    if entry.size() > limit {
        return Err(refused("its extended header is too long"));
    }
    let mut data = Vec::new();
    entry
        .take(limit)
        .read_to_end(&mut data)
        .map_err(|source| UnpackError::Io { path: PathBuf::from("the archive"), source })?;
    let text = |bytes: &[u8]| {
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        String::from_utf8(bytes.to_vec()).map_err(|_| refused("a name is not UTF-8"))
    };
    if kind.is_gnu_longname() {
        longer.path = Some(text(&data)?);
    } else if kind.is_gnu_longlink() {
        longer.target = Some(text(&data)?);
    } else {
        for record in tar::PaxExtensions::new(&data) {
            let record = record.map_err(|_| refused("its extended header is malformed"))?;
            match record.key_bytes() {
                b"path" => longer.path = Some(text(record.value_bytes())?),
                b"linkpath" => longer.target = Some(text(record.value_bytes())?),
                b"size" => return Err(refused("it is longer than 8 GiB")),
                key if key.starts_with(b"GNU.sparse") => return Err(refused("it is sparse")),
                _ => {}
            }
        }
    }
    Ok(true)
}

/// The checked member; `None` for the root directory itself, and for what the law leaves out.
fn member<R: Read>(
    entry: &tar::Entry<'_, R>,
    longer: Longer,
    strip: Strip,
    law: Law,
) -> Result<Option<Member>, UnpackError> {
    let written = match longer.path {
        Some(path) => path.into_bytes(),
        None => entry.path_bytes().into_owned(),
    };
    let name = shown(&written);
    let refused = |what: String| UnpackError::Refused { member: name.clone(), what };
    if law == Law::Root && written.contains(&b'\\') {
        return Ok(None);
    }
    let is_dir = entry.header().entry_type().is_dir();
    let Some(path) = place(&written, strip, is_dir).map_err(&refused)? else { return Ok(None) };
    let target = || match &longer.target {
        Some(target) => Ok(target.clone()),
        None => String::from_utf8(entry.link_name_bytes().unwrap_or_default().into_owned())
            .map_err(|_| refused("its target is not UTF-8".to_owned())),
    };
    let mode = entry.header().mode().map_err(|e| refused(e.to_string()))?;
    let tar_kind = entry.header().entry_type();
    let kind = if tar_kind.is_dir() {
        Kind::Directory
    } else if tar_kind.is_file() && !written.ends_with(b"/") {
        if mode & 0o6000 != 0 && law == Law::Strict {
            return Err(refused("it is set-uid or set-gid".to_owned()));
        }
        Kind::File
    } else if tar_kind.is_symlink() {
        let target = target()?;
        let good = match law {
            Law::Strict => path.link_stays(&target),
            Law::Root => !target.is_empty() && target.len() <= MAX_PATH && !target.contains('\0'),
        };
        if !good {
            return Err(refused(format!(
                "its target {:?} leaves the tree",
                shown(target.as_bytes())
            )));
        }
        Kind::Symlink(target)
    } else if tar_kind.is_hard_link() {
        match place(target()?.as_bytes(), strip, false).map_err(&refused)? {
            Some(first) => Kind::Hardlink(first),
            None => return Err(refused("it links to the root".to_owned())),
        }
    } else {
        return Err(refused("it is a device, pipe, sparse file or something unknown".to_owned()));
    };
    Ok(Some(Member { path, kind, mode, length: entry.size() }))
}

/// A name as written, without `./` in front and `/` at the end, checked, and stripped; `None` for what stripping takes
/// off whole.
pub(super) fn place(written: &[u8], strip: Strip, is_dir: bool) -> Result<Option<Inside>, String> {
    let text = std::str::from_utf8(written).map_err(|_| "its name is not UTF-8".to_owned())?;
    let text = text.strip_prefix("./").unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() || text == "." {
        return if written.starts_with(b"/") { Err("it is absolute".to_owned()) } else { Ok(None) };
    }
    let path: Inside = text.parse().map_err(|e: crate::inside::NotInside| e.to_string())?;
    match strip {
        Strip::Nothing => Ok(Some(path)),
        Strip::First => match path.without_first() {
            // Left out in silence, a file would be missing from what was asked for.
            None if !is_dir => Err("it lies at the top, where one directory holds all".to_owned()),
            rest => Ok(rest),
        },
    }
}

pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(120).collect()
}

/// Ends in an error, not in silence, where a reader hits the cap.
struct Capped<R> {
    inner: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the archive is longer than allowed")]
struct OverCap;

fn is_cap(error: &io::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> =
        error.get_ref().map(|e| e as &(dyn std::error::Error + 'static));
    while let Some(cause) = next {
        if cause.is::<OverCap>() {
            return true;
        }
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    false
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, OverCap))?;
        Ok(read)
    }
}
