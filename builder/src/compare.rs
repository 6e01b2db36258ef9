//! Two artifacts, explained from the outside in: which member, what kind of difference, the first differing bytes.

pub mod diffoscope;
mod elf;
mod holds;
mod looks;
mod members;
mod page;
mod part;
mod texts;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;
use serde::Serialize;

use crate::pack::{self, Cap, Kind, Strip, UnpackError};
pub use looks::Looks;
pub use page::page;
pub use part::Part;

/// Most members whose contents are looked into.
const MAX_SHOWN: usize = 20;
/// Longest member that is looked into, in bytes; longer ones are only said to differ.
const MAX_MEMBER: u64 = 256 << 20;

/// How two artifacts differ.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Whether they hold the same members with the same contents.
    pub equal: bool,
    /// The differences, by path.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Whether there are differences, and each of them is a date.
    pub fn is_all_dates(&self) -> bool {
        let date = |kind: &DifferenceKind| match kind {
            DifferenceKind::Content(content) => content.looks == Some(Looks::Date),
            _ => false,
        };
        !self.equal && self.differences.iter().all(|difference| date(&difference.kind))
    }
}

/// One member that differs.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// Its path.
    pub member: String,
    /// How it differs.
    #[serde(flatten)]
    pub kind: DifferenceKind,
}

/// How a member differs.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Only the second artifact has it.
    Extra,
    /// Only the first artifact has it.
    Missing,
    /// It is another kind of member.
    Type {
        /// In the first.
        first: String,
        /// In the second.
        second: String,
    },
    /// Its mode differs.
    Mode {
        /// In the first, octal.
        first: String,
        /// In the second, octal.
        second: String,
    },
    /// It points elsewhere.
    Target {
        /// In the first.
        first: String,
        /// In the second.
        second: String,
    },
    /// Its bytes differ.
    Content(Content),
}

/// Where contents begin to differ.
#[derive(Debug, Serialize)]
pub struct Content {
    /// Offset of the first differing byte; absent where the members are too long or too many to be looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Lengths in bytes.
    pub lengths: (u64, u64),
    /// Around the offset in the first, printable characters.
    pub first: String,
    /// Around the offset in the second, printable characters.
    pub second: String,
    /// What the difference looks like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks: Option<Looks>,
    /// The usual cure for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
    /// What differs inside it, where its format is known, the likely cause first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// Why two artifacts cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct CompareError {
    path: std::path::PathBuf,
    #[source]
    source: UnpackError,
}

struct Known {
    kind: Kind,
    mode: u32,
    length: u64,
    sha256: Sha256,
}

/// Compares two artifacts (`.tar.zst`, `.tar.gz` or `.tar`).
///
/// # Errors
/// One cannot be read or holds what no artifact may hold.
pub fn compare(first: &Path, second: &Path) -> Result<Comparison, CompareError> {
    let (a, b) = (index(first)?, index(second)?);
    let mut differences = Vec::new();
    for path in a.keys().chain(b.keys().filter(|path| !a.contains_key(*path))) {
        let kind = match (a.get(path), b.get(path)) {
            (Some(_), None) => Some(DifferenceKind::Missing),
            (None, _) => Some(DifferenceKind::Extra),
            (Some(x), Some(y)) => difference(x, y),
        };
        if let Some(kind) = kind {
            differences.push(Difference { member: path.clone(), kind });
        }
    }
    differences.sort_by(|x, y| x.member.cmp(&y.member));
    look_into(first, second, &mut differences)?;
    Ok(Comparison { equal: differences.is_empty(), differences })
}

fn index(path: &Path) -> Result<BTreeMap<String, Known>, CompareError> {
    let failed = |source| CompareError { path: path.to_owned(), source };
    let mut members = BTreeMap::new();
    let archive = pack::open(path).map_err(failed)?;
    pack::each(archive, Cap::default(), Strip::Nothing, &mut |member, body| {
        let mut hasher = Hasher::default();
        io::copy(body, &mut hasher)
            .map_err(|source| UnpackError::Io { path: member.path.as_str().into(), source })?;
        let (sha256, length) = hasher.finish();
        let known = Known { kind: member.kind.clone(), mode: member.mode, length, sha256 };
        members.insert(member.path.to_string(), known);
        Ok(())
    })
    .map_err(failed)?;
    Ok(members)
}

fn difference(x: &Known, y: &Known) -> Option<DifferenceKind> {
    let name = |kind: &Kind| {
        match kind {
            Kind::Directory => "directory",
            Kind::File => "file",
            Kind::Symlink(_) => "symbolic link",
            Kind::Hardlink(_) => "hard link",
        }
        .to_owned()
    };
    let target = |kind: &Kind| match kind {
        Kind::Symlink(target) => target.clone(),
        Kind::Hardlink(first) => first.to_string(),
        Kind::Directory | Kind::File => String::new(),
    };
    if name(&x.kind) != name(&y.kind) {
        return Some(DifferenceKind::Type { first: name(&x.kind), second: name(&y.kind) });
    }
    if x.kind != y.kind {
        return Some(DifferenceKind::Target { first: target(&x.kind), second: target(&y.kind) });
    }
    if x.sha256 != y.sha256 {
        return Some(DifferenceKind::Content(Content {
            offset: None,
            lengths: (x.length, y.length),
            first: String::new(),
            second: String::new(),
            looks: None,
            hint: None,
            parts: Vec::new(),
        }));
    }
    let mode = |known: &Known| format!("{:04o}", known.mode & 0o7777);
    (x.mode != y.mode).then(|| DifferenceKind::Mode { first: mode(x), second: mode(y) })
}

fn look_into(
    first: &Path,
    second: &Path,
    differences: &mut [Difference],
) -> Result<(), CompareError> {
    let wanted: Vec<String> = differences
        .iter()
        .filter(|d| {
            matches!(&d.kind, DifferenceKind::Content(c) if c.lengths.0.max(c.lengths.1) <= MAX_MEMBER)
        })
        .map(|d| d.member.clone())
        .take(MAX_SHOWN)
        .collect();
    // One member at a time: memory holds two of them, never all.
    for member in &wanted {
        let (a, b) = (body(first, member)?, body(second, member)?);
        for difference in differences.iter_mut().filter(|d| d.member == *member) {
            if let DifferenceKind::Content(content) = &mut difference.kind {
                explain(content, &a, &b);
            }
        }
    }
    Ok(())
}

fn body(path: &Path, wanted: &str) -> Result<Vec<u8>, CompareError> {
    let failed = |source| CompareError { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let archive = pack::open(path).map_err(failed)?;
    pack::each(archive, Cap::default(), Strip::Nothing, &mut |member, body| {
        if member.path.as_str() == wanted {
            body.take(MAX_MEMBER)
                .read_to_end(&mut bytes)
                .map_err(|source| UnpackError::Io { path: wanted.into(), source })?;
        }
        Ok(())
    })
    .map_err(failed)?;
    Ok(bytes)
}

fn explain(content: &mut Content, a: &[u8], b: &[u8]) {
    let Part { offset, first, second, looks, hint, parts, .. } =
        Part::of_bytes(String::new(), a, b, 0);
    *content = Content { offset, lengths: content.lengths, first, second, looks, hint, parts };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Plan, write_artifact};

    fn artifact(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for (name, text) in files {
            let path = tree.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let plan = Plan::of_directory(&tree).unwrap();
        write_artifact(&plan, 0, &dir.path().join("a.tar.zst")).unwrap();
        dir
    }

    fn compared(a: &[(&str, &str)], b: &[(&str, &str)]) -> Comparison {
        let (a, b) = (artifact(a), artifact(b));
        compare(&a.path().join("a.tar.zst"), &b.path().join("a.tar.zst")).unwrap()
    }

    #[test]
    fn the_members_that_differ_are_named_with_how() {
        let same = compared(&[("a", "1")], &[("a", "1")]);
        assert!(same.equal && same.differences.is_empty());
        let found = compared(&[("a", "1"), ("b", "x")], &[("a", "2"), ("c", "x")]);
        let names: Vec<&str> = found.differences.iter().map(|d| d.member.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(matches!(found.differences[1].kind, DifferenceKind::Missing));
        assert!(matches!(found.differences[2].kind, DifferenceKind::Extra));
    }

    #[test]
    fn a_date_and_a_path_are_recognised_with_their_cure() {
        let content = |a: &str, b: &str| {
            let mut found = compared(&[("f", a)], &[("f", b)]);
            match found.differences.remove(0).kind {
                DifferenceKind::Content(content) => content,
                other => panic!("{other:?}"),
            }
        };
        let date = content("made on Nov 20 2026 here", "made on Dec 25 2027 here");
        assert_eq!((date.offset, date.looks), (Some(8), Some(Looks::Date)));
        assert_eq!(date.first, "made on Nov 20 2026 here");
        assert!(date.hint.unwrap().contains("SOURCE_DATE_EPOCH"));
        let path = content("\0/build/src/a.c\0", "\0/other/place/a.c\0");
        assert_eq!(path.looks, Some(Looks::Path));
        let hidden = content("\0\x01id\0at 12:30:01\0", "\0\x02id\0at 12:30:59\0");
        assert_eq!(hidden.looks, Some(Looks::Date));
        let longer = content("\0\x01\0/build/src\0", "\0\x04\x05\0/other/place/src\0");
        assert_eq!((longer.offset, longer.looks), (Some(1), Some(Looks::Path)));
    }
}
