//! The files of a Debian source package: what each is for, and how they become one tree.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use countersign_metadata::Sha256;

use crate::pack::{self, Cap, Strip, UnpackError};

/// Where the packaging of a package in format 1.0 is left: a patch that a build step may apply.
const DIFF: &str = "debian.diff";
/// Longest such patch, in bytes.
const MAX_DIFF: u64 = 256 << 20;

/// What a file of a source package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The upstream source, below one directory, which is taken off.
    Upstream,
    /// The packaging, in `debian/`.
    Packaging,
    /// The packaging as a patch.
    Diff,
    /// What describes or signs the others.
    Description,
    /// Something that is not read.
    Refused(&'static str),
}

impl Role {
    /// By its name.
    pub fn of(file: &str) -> Self {
        let compressed = |stem: &str| {
            ["", ".gz", ".bz2", ".xz", ".zst"]
                .iter()
                .any(|end| file.ends_with(&format!("{stem}{end}")))
        };
        if file.ends_with(".dsc") || file.ends_with(".asc") {
            Self::Description
        } else if file.ends_with(".diff.gz") {
            Self::Diff
        } else if file.contains(".orig-") {
            Self::Refused("a source of several upstream archives is not read by this version")
        } else if compressed(".debian.tar") {
            Self::Packaging
        } else if compressed(".tar") || file.ends_with(".tgz") {
            Self::Upstream
        } else {
            Self::Refused("it is no archive that this version reads (.tar, .gz, .bz2, .xz, .zst)")
        }
    }
}

/// Adds one file to the tree in `to`.
pub(super) fn unpack(file: &str, path: &Path, to: &Path) -> Result<(), UnpackError> {
    match Role::of(file) {
        Role::Upstream => pack::unpack_file(path, to, Cap::default(), Strip::First),
        Role::Packaging => pack::unpack_file(path, to, Cap::default(), Strip::Nothing),
        Role::Description => Ok(()),
        Role::Diff => {
            let at = to.join(DIFF);
            let failed = |source| UnpackError::Io { path: at.clone(), source };
            let mut patch = pack::open(path)?.take(MAX_DIFF + 1);
            let mut file =
                File::options().write(true).create_new(true).open(&at).map_err(failed)?;
            let length = std::io::copy(&mut patch, &mut file).map_err(failed)?;
            file.flush().map_err(failed)?;
            match length > MAX_DIFF {
                true => Err(UnpackError::TooMuch(format!("{MAX_DIFF} bytes"))),
                false => Ok(()),
            }
        }
        Role::Refused(what) => {
            Err(UnpackError::Refused { member: file.to_owned(), what: what.to_owned() })
        }
    }
}

/// The files that a `.dsc` names, with their digests.
pub(crate) fn described(dsc: &str) -> Vec<(String, Sha256)> {
    let lines = dsc.lines().skip_while(|line| *line != "Checksums-Sha256:").skip(1);
    lines
        .take_while(|line| line.starts_with(' '))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let sha256 = words.next()?.parse().ok()?;
            Some((words.nth(1)?.to_owned(), sha256))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_source_package_are_told_apart_by_name() {
        for (file, role) in [
            ("x_1.0.orig.tar.gz", Role::Upstream),
            ("x_1.0.tar.xz", Role::Upstream),
            ("x_1.0-1.debian.tar.xz", Role::Packaging),
            ("x_1.0-1.diff.gz", Role::Diff),
            ("x_1.0-1.dsc", Role::Description),
            ("x_1.0.orig.tar.gz.asc", Role::Description),
        ] {
            assert_eq!(Role::of(file), role, "{file}");
        }
        for file in ["x_1.0.orig-more.tar.gz", "x.rar", "x.tar.lz"] {
            assert!(matches!(Role::of(file), Role::Refused(_)), "{file}");
        }
    }

    #[test]
    fn a_description_gives_files_and_digests() {
        let digest = Sha256::of(b"");
        let dsc = format!(
            "Format: 3.0\nChecksums-Sha256:\n {digest} 12 a.tar.gz\nFiles:\n abc 12 a.tar.gz\n"
        );
        assert_eq!(described(&dsc), [("a.tar.gz".to_owned(), digest)]);
        assert!(described("Checksums-Sha1:\n x 1 y\n").is_empty());
    }
}
