//! What one copy in the store is made of: the snapshot's tree, its manifest, and the generation whose state it is.
//!
//! ```text
//! generation.json   which release wrote the state, and the schema of each area
//! manifest.json     every file of tree/ with its digest
//! tree/             the state
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_metadata::Sha256;
use countersign_updater::durable::OnDisk;
use countersign_updater::state::copy::attributes;
use countersign_updater::state::reading::Verified;
use countersign_updater::state::{Item, Manifest};
use jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{
    ErrorKind, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult,
};

use serde_json::{Value, json};

use crate::BackupError;
use crate::repository::Trouble;

/// Names at the top of every copy.
pub(crate) const GENERATION: &str = "generation.json";
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const TREE: &str = "tree";

/// A snapshot of this disk, as the library reads it.
#[derive(Clone)]
pub(crate) struct Source {
    entries: Vec<(PathBuf, Node, Option<Content>)>,
    trouble: Trouble,
    number: u64,
}

#[derive(Clone)]
enum Content {
    Bytes(Vec<u8>),
    File { path: PathBuf, digest: Sha256, length: u64 },
}

/// One file that can be opened.
pub(crate) struct Opened {
    content: Content,
    trouble: Trouble,
    number: u64,
}

impl Source {
    /// What is in `snapshot`, a snapshot's directory, as far as `manifest` lists it.
    pub(crate) fn new(
        number: u64,
        snapshot: &Path,
        manifest: &Manifest,
        generation: Vec<u8>,
        trouble: Trouble,
    ) -> Result<Self, BackupError> {
        let bytes = serde_json::to_vec_pretty(manifest).map_err(|error| BackupError::Source {
            number,
            reason: format!("its manifest cannot be written: {error}"),
        })?;
        let mut entries = vec![
            written(GENERATION, generation, manifest.at),
            written(MANIFEST, bytes, manifest.at),
        ];
        let wrong = |reason: String| BackupError::Source { number, reason };
        let tree = snapshot.join(TREE);
        entries.push((PathBuf::from(TREE), node(&tree, NodeType::Dir, None)?.0, None));
        let paths = manifest
            .paths()
            .ok_or_else(|| wrong("its manifest has a path that leads elsewhere".to_owned()))?;
        let files: BTreeMap<_, _> =
            paths.iter().map(|(path, item)| (path.clone(), *item)).collect();
        for (path, item) in &paths {
            let (full, mut file) = (tree.join(path), *item);
            if let Some(first) = item.first() {
                file = files.get(&first).filter(|_| same(&full, &tree.join(&first))).ok_or_else(
                    || wrong(format!("{} is no name of {}", full.display(), first.display())),
                )?;
            }
            let (kind, content) = match file {
                Item::Directory { .. } => (NodeType::Dir, None),
                Item::File { digest: Some(digest), length, .. } => {
                    let (digest, length) = (*digest, *length);
                    (NodeType::File, Some(Content::File { path: full.clone(), digest, length }))
                }
                Item::File { digest: None, .. } | Item::HardLink { .. } => {
                    let reason = format!("its manifest has no digest of {}", path.display());
                    return Err(wrong(reason));
                }
                Item::Link { .. } => {
                    (NodeType::from_link(&file.target().unwrap_or_default()), None)
                }
            };
            let size = match file {
                Item::File { length, .. } => Some(*length),
                _ => None,
            };
            let (node, worn) = node(&full, kind, size)?;
            if let Item::Directory { attributes, .. } | Item::File { attributes, .. } = file
                && *attributes != worn
            {
                let what = "has other extended attributes than its manifest says";
                return Err(wrong(format!("{} {what}", full.display())));
            }
            entries.push((Path::new(TREE).join(path), node, content));
        }
        Ok(Self { entries, trouble, number })
    }
}

/// Whether two names are one file's.
fn same(one: &Path, two: &Path) -> bool {
    let of = |path| fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((of(one), of(two)), (Ok(one), Ok(two)) if one == two)
}

/// A file that is made here, for its owner only.
fn written(name: &str, bytes: Vec<u8>, at: Timestamp) -> (PathBuf, Node, Option<Content>) {
    let size = bytes.len() as u64;
    let meta = Metadata { mode: Some(0o600), mtime: Some(at), size, ..Metadata::default() };
    let node = Node::new_node(name.as_ref(), NodeType::File, meta);
    (PathBuf::from(name), node, Some(Content::Bytes(bytes)))
}

/// A path of the snapshot as it is on the disk, and the digest of its extended attributes.
fn node(
    path: &Path,
    kind: NodeType,
    size: Option<u64>,
) -> Result<(Node, Option<Sha256>), BackupError> {
    let on_disk = fs::symlink_metadata(path).on_disk("read", path)?;
    let mut meta = Metadata {
        mode: Some(go_mode(on_disk.mode(), &kind)),
        mtime: on_disk.modified().ok().and_then(|at| Timestamp::try_from(at).ok()),
        uid: Some(on_disk.uid()),
        gid: Some(on_disk.gid()),
        size: size.unwrap_or(0),
        ..Metadata::default()
    };
    if kind == NodeType::File && on_disk.nlink() > 1 {
        (meta.device_id, meta.inode, meta.links) = (on_disk.dev(), on_disk.ino(), on_disk.nlink());
    }
    let mut worn = None;
    if matches!(kind, NodeType::File | NodeType::Dir) {
        let held = File::open(path).and_then(|file| attributes::held(&file));
        let held = held.on_disk("read the extended attributes of", path)?;
        worn = attributes::digest(&held);
        let named: Option<Vec<Value>> = held.iter().map(attribute).collect();
        // The type has no name outside the library; it is read as the format writes it.
        let named = named.and_then(|named| serde_json::from_value(Value::Array(named)).ok());
        meta.extended_attributes = named
            .ok_or_else(|| io::Error::other("a name among them is not UTF-8"))
            .on_disk("copy the extended attributes of", path)?;
    }
    Ok((Node::new_node(path.file_name().unwrap_or_default(), kind, meta), worn))
}

fn attribute((name, value): (&Vec<u8>, &Vec<u8>)) -> Option<Value> {
    let name = std::str::from_utf8(name).ok()?;
    Some(json!({ "name": name, "value": STANDARD.encode(value) }))
}

/// What a node wears, as far as it counts.
pub(crate) fn worn(node: &Node) -> attributes::Attributes {
    let all = node.meta.extended_attributes.iter();
    all.map(|one| (one.name.clone().into_bytes(), one.value.clone().unwrap_or_default())).collect()
}

/// The format has its modes from the language Go: the kind and the three special bits are elsewhere than in POSIX.
fn go_mode(mode: u32, kind: &NodeType) -> u32 {
    let kind = match kind {
        NodeType::Dir => 1 << 31,
        NodeType::Symlink { .. } => 1 << 27,
        _ => 0,
    };
    let special = SPECIAL.iter().filter(|(posix, _)| mode & posix != 0).map(|(_, go)| go);
    (mode & 0o777) | kind | special.sum::<u32>()
}

/// Set-user-ID, set-group-ID and sticky: in POSIX, and in the format.
const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];

/// The permission bits of a mode in the format.
pub(crate) fn posix_mode(mode: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(_, go)| mode & go != 0).map(|(posix, _)| posix);
    (mode & 0o777) | special.sum::<u32>()
}

impl ReadSource for Source {
    type Open = Opened;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        let (trouble, number) = (self.trouble.clone(), self.number);
        Entries { left: self.entries.clone().into_iter(), trouble, number }
    }
}

/// The entries of a [`Source`], above before below.
pub(crate) struct Entries {
    left: vec::IntoIter<(PathBuf, Node, Option<Content>)>,
    trouble: Trouble,
    number: u64,
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Opened>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node, content) = self.left.next()?;
        let (trouble, number) = (self.trouble.clone(), self.number);
        let open = content.map(|content| Opened { content, trouble, number });
        Some(Ok(ReadSourceEntry { path, node, open }))
    }
}

impl ReadSourceOpen for Opened {
    type Reader = Told;

    fn open(self) -> RusticResult<Told> {
        let Self { content, trouble, number } = self;
        let inner: Box<dyn Read + Send> = match content {
            Content::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Content::File { path, digest, length } => {
                let opened = Verified::open(&path, digest, length);
                Box::new(opened.map_err(|error| {
                    let told = error.to_string();
                    trouble.note(error.into());
                    RusticError::new(ErrorKind::InputOutput, told)
                })?)
            }
        };
        Ok(Told { inner, trouble, number })
    }
}

/// A reader whose trouble is not lost in the library's log.
pub(crate) struct Told {
    inner: Box<dyn Read + Send>,
    trouble: Trouble,
    number: u64,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                let (number, reason) = (self.number, error.to_string());
                self.trouble.note(BackupError::Source { number, reason });
            }
        })
    }
}
