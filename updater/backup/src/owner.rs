//! Who may write a store: one node, and of that node one copy.
//!
//! ```text
//! STORE/countersign-owner.json   {"format":1,"node":"…","fence":7,"session":"…","at":"…"}
//! NODE/backup-owner.json         the node's name and the last fence that it wrote (mode 0600)
//! ```
//!
//! Every session that writes replaces the marker by one with the next fence, on the condition that it is still the
//! one that was read. So a second node is kept out; a clone of this node too, because it does not know the fence that
//! the first of both to write went on to; and whoever was taken over from finds out before its next write.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use countersign_updater::Home;
use countersign_updater::durable::{self, DiskError, OnDisk};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Stamp, Store, StoreError, Swapped};

/// A store that this node may not write.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// It has no marker.
    #[error("{0} has no owner's marker")]
    Unmarked(String),
    /// Another node's.
    #[error("{place} belongs to node {node}, which wrote it last at {at}")]
    Other {
        /// The store.
        place: String,
        /// Whose it is.
        node: String,
        /// When that was written.
        at: Timestamp,
    },
    /// This node's name, and not its last session.
    #[error(
        "a copy of this node has written {place} meanwhile: its fence is {theirs}, and this one's is {ours}"
    )]
    Copy {
        /// The store.
        place: String,
        /// In the store.
        theirs: u64,
        /// On this disk.
        ours: u64,
    },
    /// Somebody took the store over during this session.
    #[error("{0} was taken over by somebody else during this session")]
    Fenced(String),
    /// A marker that is not one.
    #[error("the owner's marker in {0} is damaged")]
    Damaged(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The marker in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The format: 1.
    pub format: u32,
    /// The owner's name: random, made on the node.
    pub node: String,
    /// The number of the last session that wrote.
    pub fence: u64,
    /// Random for each session, so that no two markers are the same.
    pub session: String,
    /// When that session began, by the node's clock.
    pub at: Timestamp,
}

/// What the node knows of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Identity {
    node: String,
    /// The last session whose marker is known to be in the store.
    fence: u64,
    /// A session whose marker may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
}

/// A session that may write, as long as [`Session::holds`] says so.
#[derive(Clone, Debug)]
pub struct Session {
    marker: Marker,
}

/// The marker of a store, if it has one.
///
/// # Errors
/// The store fails, or the marker makes no sense.
pub fn look(store: &dyn Store) -> Result<Option<Marker>, OwnerError> {
    Ok(read(store)?.map(|(marker, _)| marker))
}

/// Begins a session in the store that this node wrote last.
///
/// # Errors
/// The store is not this node's, or fails.
pub fn claim(home: &Home, store: &dyn Store) -> Result<Session, OwnerError> {
    let me = Identity::of(home)?;
    let place = || store.place().to_owned();
    let (there, stamp) = read(store)?.ok_or_else(|| OwnerError::Unmarked(place()))?;
    if there.node != me.node {
        return Err(OwnerError::Other { place: place(), node: there.node, at: there.at });
    }
    if there.fence != me.fence && me.pending.as_ref() != Some(&there.session) {
        return Err(OwnerError::Copy { place: place(), theirs: there.fence, ours: me.fence });
    }
    begin(home, store, me, Some((there, stamp)))
}

/// Makes the store this node's, whosever it was.
///
/// # Errors
/// Somebody else does the same at this moment, or the store fails.
pub fn take(home: &Home, store: &dyn Store) -> Result<Session, OwnerError> {
    let before = match read(store) {
        Err(OwnerError::Damaged(_)) => {
            let stamp = store.marker()?.map(|(_, stamp)| stamp);
            stamp.map(|stamp| (Marker::none(), stamp))
        }
        read => read?,
    };
    begin(home, store, Identity::of(home)?, before)
}

fn begin(
    home: &Home,
    store: &dyn Store,
    mut me: Identity,
    before: Option<(Marker, Stamp)>,
) -> Result<Session, OwnerError> {
    let fence = before.as_ref().map_or(0, |(marker, _)| marker.fence).saturating_add(1);
    let (session, at) = (random(8)?, Timestamp::now());
    let marker = Marker { format: 1, node: me.node.clone(), fence, session: session.clone(), at };
    // Said before it is done: whether a marker is this node's is known also after a crash in between.
    me.pending = Some(session);
    me.write(home)?;
    let bytes = serde_json::to_vec(&marker).map_err(|e| unwritable(home, e))?;
    match store.swap_marker(before.as_ref().map(|(_, stamp)| stamp), &bytes)? {
        Swapped::Lost => Err(OwnerError::Fenced(store.place().to_owned())),
        Swapped::Done => {
            (me.fence, me.pending) = (fence, None);
            me.write(home)?;
            Ok(Session { marker })
        }
    }
}

impl Session {
    /// Just before a write: the marker is still the one that this session wrote.
    ///
    /// # Errors
    /// It is not, or the store fails.
    pub fn holds(&self, store: &dyn Store) -> Result<(), OwnerError> {
        match look(store)? {
            Some(there) if there == self.marker => Ok(()),
            _ => Err(OwnerError::Fenced(store.place().to_owned())),
        }
    }

    /// What this session wrote.
    pub fn marker(&self) -> &Marker {
        &self.marker
    }
}

impl Marker {
    fn none() -> Self {
        let (node, session) = (String::new(), String::new());
        Self { format: 1, node, fence: 0, session, at: Timestamp::UNIX_EPOCH }
    }
}

fn read(store: &dyn Store) -> Result<Option<(Marker, Stamp)>, OwnerError> {
    let Some((bytes, stamp)) = store.marker()? else { return Ok(None) };
    match serde_json::from_slice::<Marker>(&bytes) {
        Ok(marker) if marker.format == 1 => Ok(Some((marker, stamp))),
        _ => Err(OwnerError::Damaged(store.place().to_owned())),
    }
}

fn file(home: &Home) -> PathBuf {
    home.path().join("backup-owner.json")
}

fn unwritable(home: &Home, error: serde_json::Error) -> DiskError {
    DiskError::new("write", &file(home), error.into())
}

impl Identity {
    fn of(home: &Home) -> Result<Self, OwnerError> {
        let path = file(home);
        match durable::read(&path, 1 << 12)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| DiskError::new("understand", &path, error.into()).into()),
            None => {
                let this = Self { node: random(16)?, ..Self::default() };
                this.write(home)?;
                Ok(this)
            }
        }
    }

    fn write(&self, home: &Home) -> Result<(), DiskError> {
        let bytes = serde_json::to_vec(self).map_err(|error| unwritable(home, error))?;
        durable::write_private(&file(home), &bytes)
    }
}

/// So many random bytes, in hexadecimal.
fn random(length: usize) -> Result<String, DiskError> {
    let mut bytes = vec![0; length];
    let urandom = Path::new("/dev/urandom");
    File::open(urandom)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .on_disk("read", urandom)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::Directory;

    struct Place {
        dir: tempfile::TempDir,
        store: Directory,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        Place { store: Directory::new(&dir.path().join("store")), dir }
    }

    impl Place {
        fn node(&self, name: &str) -> Home {
            let home = Home::create(&self.dir.path().join(name)).unwrap();
            home.finish("").unwrap();
            home
        }
    }

    #[test]
    fn a_second_node_is_kept_out_until_it_takes_over_and_then_the_first_is() {
        let place = place();
        let (a, b) = (place.node("a"), place.node("b"));
        let store = &place.store;
        assert!(matches!(claim(&a, store), Err(OwnerError::Unmarked(_))));
        let first = take(&a, store).unwrap();
        assert_eq!(first.marker().fence, 1);
        let session = claim(&a, store).unwrap();
        assert!(matches!(first.holds(store), Err(OwnerError::Fenced(_))));
        session.holds(store).unwrap();
        assert!(matches!(claim(&b, store), Err(OwnerError::Other { .. })));
        session.holds(store).unwrap();
        let taken = take(&b, store).unwrap();
        assert_eq!(taken.marker().fence, 3);
        assert!(matches!(session.holds(store), Err(OwnerError::Fenced(_))));
        assert!(matches!(claim(&a, store), Err(OwnerError::Other { .. })));
        claim(&b, store).unwrap();
    }

    #[test]
    fn of_a_node_and_its_clone_the_second_to_write_is_kept_out() {
        let place = place();
        let a = place.node("a");
        take(&a, &place.store).unwrap();
        let clone = place.node("clone");
        fs::copy(file(&a), file(&clone)).unwrap();
        claim(&clone, &place.store).unwrap();
        assert!(matches!(
            claim(&a, &place.store),
            Err(OwnerError::Copy { theirs: 2, ours: 1, .. })
        ));
    }

    #[test]
    fn a_crash_after_the_marker_was_written_keeps_nobody_out() {
        let place = place();
        let a = place.node("a");
        let session = take(&a, &place.store).unwrap();
        // As the disk was before the last write of `begin`.
        let mut me = Identity::of(&a).unwrap();
        (me.fence, me.pending) = (0, Some(session.marker().session.clone()));
        me.write(&a).unwrap();
        assert_eq!(claim(&a, &place.store).unwrap().marker().fence, 2);
        // And as it was before the marker was written.
        let mut me = Identity::of(&a).unwrap();
        me.pending = Some("never written".to_owned());
        me.write(&a).unwrap();
        claim(&a, &place.store).unwrap();
    }

    #[test]
    fn a_damaged_marker_lets_nobody_in_but_who_takes_over() {
        let place = place();
        let a = place.node("a");
        take(&a, &place.store).unwrap();
        fs::write(place.dir.path().join("store/countersign-owner.json"), "{").unwrap();
        assert!(matches!(claim(&a, &place.store), Err(OwnerError::Damaged(_))));
        take(&a, &place.store).unwrap();
        claim(&a, &place.store).unwrap();
    }
}
