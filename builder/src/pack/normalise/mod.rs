//! Takes out of files, before they are packed, what the tools that wrote them put in of the machine: times and owners in archives,
//! times in compressed and compiled files, build ids. Every change is made in place: no file changes its length or layout.
//!
//! Only what a recipe asks for is done (`normalise` in `[build]`). A file is known by its content, not by its name; one that
//! looks like a format and breaks its rules stays as it is.

mod ar;
mod build_id;
mod gzip;
mod pyc;
mod zip;

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{Body, PackError, Plan};

/// Longest file that is normalised, in bytes.
const MAX_LENGTH: u64 = 1 << 30;

/// What is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Times, owners and modes in `ar` archives, so in static libraries.
    Ar,
    /// The time in the header of gzip files. Of several members in one file, the first one's.
    Gzip,
    /// Times and owners in zip archives, so in wheels and jars.
    Zip,
    /// The source's time in compiled Python, which becomes that of the packed source.
    Pyc,
    /// The build id of ELF files becomes a digest of the file. Debug information in a file of its own no longer finds it.
    BuildId,
}

impl Normalise {
    /// Whether the file is of this format and was changed.
    fn apply(self, bytes: &mut [u8], epoch: u64) -> bool {
        // Archives of this age hold 32 bits of seconds, most of them signed.
        let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
        match self {
            Self::Ar => ar::clean(bytes),
            Self::Gzip => gzip::clean(bytes),
            Self::Zip => zip::clean(bytes, epoch),
            Self::Pyc => pyc::clean(bytes, epoch),
            Self::BuildId => build_id::derive(bytes),
        }
        .is_some()
    }
}

/// Normalises every regular file below `dir`.
///
/// # Errors
/// One cannot be read or written, or is too long to be looked into.
pub fn normalise<'a>(
    dir: &Path,
    what: impl IntoIterator<Item = &'a Normalise> + Clone,
    epoch: u64,
) -> Result<(), PackError> {
    if what.clone().into_iter().next().is_none() {
        return Ok(());
    }
    for entry in Plan::of_directory(dir)?.entries() {
        let Body::File { from, length, .. } = &entry.body else { continue };
        if *length > MAX_LENGTH {
            let what = format!("it is longer than the {MAX_LENGTH} bytes that are normalised");
            return Err(PackError::refused(&entry.path, what));
        }
        let failed = |source| PackError::Io { path: from.clone(), source };
        let mut bytes = crate::files::read_limited_no_link(from, MAX_LENGTH).map_err(failed)?;
        let mut changed = false;
        for one in what.clone() {
            changed |= one.apply(&mut bytes, epoch);
        }
        if changed {
            fs::write(from, &bytes).map_err(failed)?;
        }
    }
    Ok(())
}

/// `N` bytes at an offset, to be changed.
fn at<const N: usize>(bytes: &mut [u8], offset: usize) -> Option<&mut [u8; N]> {
    bytes.get_mut(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// A little-endian number of two bytes.
fn u16_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let word = bytes.get(offset..offset.checked_add(2)?)?;
    Some(usize::from(u16::from_le_bytes(word.try_into().ok()?)))
}

/// A little-endian number of four bytes.
fn u32_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let word = bytes.get(offset..offset.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(word.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_that_begins_like_a_format_stays_as_it_is() {
        let begins: [&[u8]; 6] = [
            b"!<arch>\n",
            b"\x1f\x8b\x08\x08",
            b"PK\x03\x04",
            b"\xa7\x0d\x0d\x0a",
            b"\x7fELF",
            b"",
        ];
        let all = [Normalise::Ar, Normalise::Zip, Normalise::Pyc, Normalise::BuildId];
        for begin in begins {
            for rest in [
                &b""[..],
                &[0xff; 70],
                &[0; 70],
                b"PK\x05\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            ] {
                let before = [begin, rest].concat();
                let mut bytes = before.clone();
                for one in all {
                    assert!(!one.apply(&mut bytes, 1), "{one:?} of {before:?}");
                }
                assert_eq!(bytes, before);
            }
        }
    }
}
