//! Zip archives, read by the rules that tars are read by.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipFile;

use super::read::{Cap, Kind, Member, Strip, UnpackError, place, shown};
use super::unpack::Tree;
use crate::inside::MAX_PATH;

/// A zip ends in a record of this many bytes and a comment.
const END: usize = 22;
const END_MAGIC: &[u8] = b"PK\x05\x06";
const LOCATOR_MAGIC: &[u8] = b"PK\x06\x07";

/// Unpacks a zip into `to`.
pub(super) fn unpack_zip(
    mut file: File,
    to: &Path,
    cap: Cap,
    strip: Strip,
) -> Result<(), UnpackError> {
    let count = members(&mut file)?;
    if count > cap.members {
        return Err(UnpackError::TooMuch(format!("{} members", cap.members)));
    }
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| broken(e.into()))?;
    if archive.len() as u64 != count {
        return Err(refused("the archive", "a name is there twice"));
    }
    let mut tree = Tree::new(to);
    let mut left = cap.bytes;
    for index in 0..archive.len() {
        let mut body = archive.by_index(index).map_err(|e| broken(e.into()))?;
        left = left
            .checked_sub(body.size())
            .ok_or_else(|| UnpackError::TooMuch(format!("{} bytes", cap.bytes)))?;
        if let Some(member) = member(&mut body, strip)? {
            let length = member.length;
            tree.add(&member, &mut body.take(length + 1))?;
        }
    }
    tree.finish()
}

/// How many members its end says that there are: asked before the directory is read, which takes memory for each.
fn members(file: &mut File) -> Result<u64, UnpackError> {
    let length = file.seek(SeekFrom::End(0)).map_err(broken)?;
    let tail = length.min((END + usize::from(u16::MAX) + 20) as u64);
    file.seek(SeekFrom::Start(length - tail)).map_err(broken)?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes).map_err(broken)?;
    file.seek(SeekFrom::Start(0)).map_err(broken)?;
    let end = bytes.windows(END).rposition(|window| window.starts_with(END_MAGIC));
    let end = end.ok_or_else(|| refused("the archive", "it is a zip without an end"))?;
    if bytes[..end].windows(LOCATOR_MAGIC.len()).any(|window| window == LOCATOR_MAGIC) {
        return Err(refused("the archive", "it is a zip64 archive"));
    }
    Ok(u64::from(u16::from_le_bytes([bytes[end + 10], bytes[end + 11]])))
}

fn member<R: Read>(body: &mut ZipFile<'_, R>, strip: Strip) -> Result<Option<Member>, UnpackError> {
    let name = shown(body.name_raw());
    let refused = |what: String| UnpackError::Refused { member: name.clone(), what };
    let is_dir = body.is_dir();
    let written = body.name_raw().to_vec();
    let Some(path) = place(&written, strip, is_dir).map_err(&refused)? else { return Ok(None) };
    let mode = body.unix_mode().unwrap_or(if is_dir { 0o755 } else { 0o644 });
    let kind = match mode & 0o170_000 {
        _ if is_dir => Kind::Directory,
        0o120_000 => {
            let mut target = String::new();
            let read = body.take(MAX_PATH as u64 + 1).read_to_string(&mut target);
            read.map_err(|_| refused("its target is not UTF-8".to_owned()))?;
            if !path.link_stays(&target) {
                let target = shown(target.as_bytes());
                return Err(refused(format!("its target {target:?} leaves the tree")));
            }
            Kind::Symlink(target)
        }
        0 | 0o100_000 if mode & 0o6000 != 0 => {
            return Err(refused("it is set-uid or set-gid".to_owned()));
        }
        0 | 0o100_000 => Kind::File,
        _ => return Err(refused("it is a device, pipe or something unknown".to_owned())),
    };
    Ok(Some(Member { path, kind, mode, length: body.size() }))
}

fn refused(member: &str, what: &str) -> UnpackError {
    UnpackError::Refused { member: member.to_owned(), what: what.to_owned() }
}

fn broken(source: io::Error) -> UnpackError {
    UnpackError::Io { path: PathBuf::from("the archive"), source }
}
