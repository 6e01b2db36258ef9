//! What a copy holds: every path with its kind, mode and digest.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use countersign_metadata::{Sha256, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Secrets;
use super::ladder::Rung;

/// The format that this code writes; it reads format 1 too, which knew neither attributes nor hard links.
pub(super) const FORMAT: u32 = 2;

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format: 1 or 2.
    pub format: u32,
    /// When it was completed.
    pub at: Timestamp,
    /// The data directory that was copied.
    pub data: u64,
    /// How it was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// Which version opened a copy of it before it counted, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opened>,
    /// Paths below it, `%XX` for every byte that is not printable ASCII.
    pub entries: BTreeMap<String, Item>,
    /// Sockets, which hold no data and were left out.
    pub skipped: Vec<String>,
}

/// That a version started on a copy, in the sandbox, and was ready and healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Which one.
    pub by: Version,
    /// From its start until it was ready, in milliseconds.
    pub ready_after_ms: u64,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Item {
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Over its extended attributes, if it has any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attributes: Option<Sha256>,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Bytes.
        length: u64,
        /// Over its blocks, as this program reads them: not `sha256sum` of the file. Absent only while a copy is in
        /// the making: a cloned file is read when nobody waits for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        digest: Option<Sha256>,
        /// Over its extended attributes, if it has any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attributes: Option<Sha256>,
    },
    /// Another name of a file.
    HardLink {
        /// Its first name in this manifest.
        of: String,
    },
    /// A symbolic link.
    Link {
        /// Its target, escaped like a path.
        target: String,
    },
}

impl Manifest {
    /// Every entry with its path, above before below; `None` if a path leads elsewhere.
    pub fn paths(&self) -> Option<Vec<(PathBuf, &Item)>> {
        let mut paths: Vec<_> =
            self.entries.iter().map(|(path, item)| (unescape(path), item)).collect();
        paths.sort_by(|a, b| a.0.cmp(&b.0));
        paths.iter().all(|(path, _)| is_plain(path)).then_some(paths)
    }

    /// What is left of it without what is secret. No version has opened that.
    ///
    /// # Errors
    /// This path is another name of a secret file.
    pub fn without(mut self, secrets: &Secrets) -> Result<Self, PathBuf> {
        let covered = |path: &str| secrets.cover(&unescape(path));
        for (path, item) in &self.entries {
            match item {
                Item::HardLink { of } if covered(path) && !covered(of) => return Err(unescape(of)),
                Item::HardLink { of } if covered(of) && !covered(path) => {
                    return Err(unescape(path));
                }
                _ => {}
            }
        }
        let before = self.entries.len();
        self.entries.retain(|path, _| !covered(path));
        self.skipped.retain(|path| !covered(path));
        if self.entries.len() < before {
            self.opened = None;
        }
        Ok(self)
    }
}

impl Item {
    /// Where a symbolic link points.
    pub fn target(&self) -> Option<PathBuf> {
        match self {
            Self::Link { target } => Some(unescape(target)),
            _ => None,
        }
    }

    /// Of what file it is another name.
    pub fn first(&self) -> Option<PathBuf> {
        match self {
            Self::HardLink { of } => Some(unescape(of)),
            _ => None,
        }
    }
}

/// Writes any bytes as printable ASCII.
pub(crate) fn escape(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | 0..=0x20 | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

/// Reads what [`escape`] wrote; anything else stays as it is.
pub(super) fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let coded = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let decoded = coded
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(decoded.unwrap_or(bytes[at]));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(out))
}

/// A name that leads nowhere but down.
pub(super) fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
        && path.as_os_str() != OsStr::new("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_the_manifest() {
        for name in [&b"a b"[..], b"100%", b"%41", b"\xff\xfe\n", "gr\u{fc}n/x".as_bytes()] {
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            assert_eq!(unescape(&escape(&path)), path);
            assert!(escape(&path).is_ascii());
        }
        assert!(is_plain(Path::new("a/b")) && !is_plain(Path::new("../b")));
        assert!(!is_plain(Path::new("/b")) && !is_plain(Path::new("")));
    }

    #[test]
    fn what_is_secret_leaves_a_manifest_and_another_name_of_it_is_found() {
        let file = Item::File { mode: 0o600, length: 0, digest: None, attributes: None };
        let link = |of: &str| Item::HardLink { of: of.to_owned() };
        let manifest = |entries: &[(&str, &Item)]| Manifest {
            format: FORMAT,
            at: Timestamp::UNIX_EPOCH,
            data: 1,
            rung: None,
            opened: Some(Opened { by: "1.0.0".parse().unwrap(), ready_after_ms: 1 }),
            entries: entries.iter().map(|(p, item)| ((*p).to_owned(), (*item).clone())).collect(),
            skipped: vec!["keys/socket".to_owned(), "socket".to_owned()],
        };
        let secrets = Secrets::none().and(["a%20b".parse().unwrap(), "keys".parse().unwrap()]);
        let before = [("a%20b", &file), ("keys/n", &file), ("keyset", &file)];
        let after = manifest(&before).without(&secrets).unwrap();
        let left: Vec<_> = after.entries.keys().map(String::as_str).collect();
        assert_eq!(left, ["a%20b", "keyset"], "it means a file of that name, and not `a b`");
        assert_eq!((after.skipped, after.opened), (vec!["socket".to_owned()], None));
        let inside = [("keys/a", &file), ("keys/b", &link("keys/a"))];
        assert!(manifest(&inside).without(&secrets).unwrap().entries.is_empty());
        let outside = [("keys/a", &file), ("public", &link("keys/a"))];
        assert_eq!(manifest(&outside).without(&secrets).unwrap_err(), PathBuf::from("public"));
        let open = [("a", &file), ("keys/b", &link("a"))];
        assert_eq!(manifest(&open).without(&secrets).unwrap_err(), PathBuf::from("a"));
    }
}
