//! Unpacks a fetched artifact into the content-addressed store, and proves a stored one again.
//!
//! ```text
//! NODE/store/SHA256/            of the canonical tar: the identity that keyholders signed
//!   tree/                       what it holds, read-only
//!   layout.json.zst             the tar without the files' bytes: headers, padding, and their order
//!   release.json                the signed release, as it was when this was staged
//! ```
//!
//! `layout` and `tree` together give back the tar, byte for byte. So a stored release is proven by its own name,
//! without a second copy of its bytes and without believing any list of digests on the disk.

mod ahead;
mod archive;
pub(crate) mod base;
mod layout;
mod tape;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use countersign_metadata::layout::limit;
use countersign_metadata::{Release, Sha256};

pub use archive::Refusal;

use crate::Home;
use crate::durable::{self, DiskError, OnDisk};
use crate::fetch::{Fetched, Packed, discard as discard_download};
use crate::trust_store::chain;
use ahead::ahead;
use archive::{Kind, Sink};
use layout::Layout;

/// A release in the store whose every byte was hashed to its identity in this process.
///
/// Its birthplaces are [`stage`] and [`reopen`]. It cannot be made elsewhere:
///
/// ```compile_fail
/// fn forge(release: countersign_metadata::Release) -> countersign_updater::stage::StagedVersion {
///     countersign_updater::stage::StagedVersion { release, dir: "/tmp".into() }
/// }
/// ```
#[derive(Debug)]
pub struct StagedVersion {
    release: Release,
    dir: PathBuf,
}

impl StagedVersion {
    /// What it is.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The digest of its canonical tar.
    pub fn identity(&self) -> &Sha256 {
        &self.release.artifact.sha256
    }

    /// What it holds, unpacked and read-only.
    pub fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }
}

/// An artifact that cannot be staged, or a stored one that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It holds something that no artifact may hold.
    #[error("the artifact is refused")]
    Refused(#[from] Refusal),
    /// What it unpacks to is not what was signed.
    #[error("identity mismatch: the canonical tar should be {wanted}, it is {found}")]
    OtherIdentity {
        /// The signed identity.
        wanted: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// A stored release is no longer what it was.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The store directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl StageError {
    /// Whether the artifact itself is at fault, and not this machine.
    pub fn is_untrusted(&self) -> bool {
        match self {
            Self::Refused(refusal) => !matches!(refusal, Refusal::Io { .. }),
            Self::OtherIdentity { .. } => true,
            Self::Disk(_) | Self::Damaged { .. } => false,
        }
    }
}

/// Unpacks into a directory beside the store's, syncs it and reads it back, and renames it in.
///
/// # Errors
/// The artifact is refused, or the disk fails. The store is then as it was.
pub fn stage(home: &Home, fetched: Fetched) -> Result<StagedVersion, StageError> {
    let (target, mut packed, partial) = fetched.into_parts();
    let release = target.release().clone();
    let identity = release.artifact.sha256;
    let dir = home.stored(&identity);
    if dir.exists() {
        if let Ok(Some(there)) = read_back(&dir, &identity)
            && there.release == release
        {
            discard_download(&partial)?;
            return Ok(there);
        }
        // Kept for whoever wants to know what happened; nothing here is ever overwritten.
        let aside = free_name(home, &format!(".damaged-{identity}"));
        fs::rename(&dir, &aside).on_disk("move aside", &dir)?;
    }
    let temporary = home.store().join(format!(".tmp-{identity}"));
    let tree = temporary.join("tree");
    if temporary.exists() {
        discard(&temporary).on_disk("remove", &temporary)?;
    }
    fs::create_dir(&temporary).on_disk("make", &temporary)?;
    make_readable(&tree).on_disk("make", &tree)?;
    let unpacked = unpack(home, &mut packed, &release, &tree);
    let written = unpacked.map_err(|error| blame(home, &packed, error)).and_then(|layout| {
        layout.write(&temporary.join("layout.json.zst"))?;
        let path = temporary.join("release.json");
        let json = serde_json::to_vec_pretty(&release).map_err(io::Error::from);
        json.and_then(|json| fs::write(&path, json)).on_disk("write", &path)?;
        // Before the sync, so that nothing is written to the disk that is of no more use.
        drop(packed);
        discard_download(&partial)?;
        settle(&temporary, &identity)?;
        fs::rename(&temporary, &dir).on_disk("write", &dir)?;
        Ok(durable::sync_parent(&dir)?)
    });
    if let Err(error) = written {
        let _left_for_the_next_time = discard(&temporary);
        return Err(error);
    }
    Ok(StagedVersion { release, dir })
}

/// Makes a copy durable, and reads it back meanwhile.
fn settle(temporary: &Path, identity: &Sha256) -> Result<(), StageError> {
    thread::scope(|scope| {
        let syncing = scope.spawn(|| durable::sync_file_system(temporary));
        let there = read_back(temporary, identity);
        let panicked = |_| Err(DiskError::new("sync", temporary, io::Error::other("it panicked")));
        syncing.join().unwrap_or_else(panicked)?;
        there?.map(drop).ok_or_else(|| StageError::Damaged {
            path: temporary.to_owned(),
            reason: "it was written and is not there".to_owned(),
        })
    })
}

/// Removes an unfinished copy in the store, of this life or an earlier one.
#[expect(clippy::disallowed_methods, reason = "a `.tmp-` directory of the store: never state")]
fn discard(temporary: &Path) -> io::Result<()> {
    fs::remove_dir_all(temporary)
}

/// Proves a stored release again: every byte is hashed to the identity that is its name.
///
/// # Errors
/// It is there and is not what its name says.
pub fn reopen(home: &Home, identity: &Sha256) -> Result<Option<StagedVersion>, StageError> {
    read_back(&home.stored(identity), identity)
}

fn read_back(dir: &Path, identity: &Sha256) -> Result<Option<StagedVersion>, StageError> {
    if !dir.exists() {
        return Ok(None);
    }
    let damaged = |reason: String| StageError::Damaged { path: dir.to_owned(), reason };
    let json = durable::read(&dir.join("release.json"), limit::METADATA)?
        .ok_or_else(|| damaged("release.json is gone".to_owned()))?;
    let release: Release =
        serde_json::from_slice(&json).map_err(|e| damaged(format!("release.json: {e}")))?;
    if release.artifact.sha256 != *identity {
        return Err(damaged("release.json is about another artifact".to_owned()));
    }
    let layout = Layout::read(&dir.join("layout.json.zst")).map_err(|e| damaged(chain(&e)))?;
    let tree = dir.join("tree");
    let tar = layout.tar(&tree);
    let (found, expected) = archive::read(tar, release.artifact.length, &mut archive::Nowhere)
        .map_err(|e| damaged(chain(&e)))?;
    if found.sha256 != *identity {
        return Err(damaged(format!("its canonical tar is {} now", found.sha256)));
    }
    let there = archive::walk(&tree).map_err(|e| damaged(chain(&e)))?;
    if let Some(path) = difference(&expected, &there) {
        return Err(damaged(format!("{path} is not as it was unpacked")));
    }
    Ok(Some(StagedVersion { release, dir: dir.to_owned() }))
}

/// The first path that is not the same in both.
fn difference(a: &BTreeMap<String, Kind>, b: &BTreeMap<String, Kind>) -> Option<String> {
    let all = a.keys().chain(b.keys());
    all.filter(|path| a.get(*path) != b.get(*path)).min().cloned()
}

/// A delta was found to give the artifact: if it does not now, the stored release that it begins with has changed, and
/// nobody else is to blame.
fn blame(home: &Home, packed: &Packed, error: StageError) -> StageError {
    match (packed, error) {
        (
            Packed::Delta { base, .. },
            StageError::OtherIdentity { .. }
            | StageError::Refused(Refusal::Broken(_) | Refusal::TooLong),
        ) => {
            let reason = "the delta that begins with it gives something else now".to_owned();
            StageError::Damaged { path: home.stored(base), reason }
        }
        (_, error) => error,
    }
}

fn unpack(
    home: &Home,
    packed: &mut Packed,
    release: &Release,
    tree: &Path,
) -> Result<Layout, StageError> {
    let mut tar = packed.tar(home, release.artifact.length).on_disk("read", tree)?;
    let mut disk = Disk { tree: tree.to_owned() };
    let (found, _) =
        ahead(&mut *tar, |tar| archive::read(tar, release.artifact.length, &mut disk))?;
    let wanted = release.artifact.sha256;
    if found.sha256 != wanted {
        return Err(StageError::OtherIdentity { wanted, found: found.sha256 });
    }
    Ok(found.layout)
}

/// Writes what an archive holds below a fresh directory that nobody else writes.
struct Disk {
    tree: PathBuf,
}

impl Sink for Disk {
    fn take(&mut self, path: &str, kind: &Kind, body: &mut dyn Read) -> Result<(), Refusal> {
        let to = self.tree.join(path);
        let failed = |source| Refusal::Io { path: to.clone(), source };
        match kind {
            Kind::Directory => make_readable(&to).map_err(failed),
            Kind::Link { target } => symlink(target, &to).map_err(failed),
            Kind::HardLink { first } => fs::hard_link(self.tree.join(first), &to).map_err(failed),
            Kind::File { executable } => {
                let mode = if *executable { 0o555 } else { 0o444 };
                let mut file = File::options()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(&to)
                    .map_err(failed)?;
                archive::copy(body, &mut file, &to)?;
                // As for directories: not what the umask says.
                file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)
            }
        }
    }
}

/// Makes a directory that the shadow, which reads as a stranger, can read whatever the operator's umask.
fn make_readable(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn free_name(home: &Home, name: &str) -> PathBuf {
    let first = home.store().join(name);
    let others = (2u64..).map(|n| home.store().join(format!("{name}.{n}")));
    std::iter::once(first.clone()).chain(others).find(|path| !path.exists()).unwrap_or(first)
}

#[cfg(test)]
mod tests;
