//! What a copy holds: every path with its kind, mode and digest.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use countersign_metadata::{Sha256, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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

/// Writes any bytes as printable ASCII.
pub(super) fn escape(path: &Path) -> String {
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
}
