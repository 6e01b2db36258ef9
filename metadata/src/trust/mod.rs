//! The law for readers: bytes from anywhere become verified targets, or an error that says why not.
//!
//! ```text
//! pinned root ──Trust::from_root──▶ Trust ──refresh(now, source)──▶ Trust ──releases(product)──▶ VerifiedTarget
//!                                     ▲                               │
//!                                     └── restore(root, kept, now) ◀──┴── kept(): exact bytes for the disk
//! ```
//!
//! TUF client workflow 5.3 to 5.6, without a clock, disk or network of its own. Stricter than the
//! specification where clients are weak: distinct keys count, not key identifiers; versions once seen are a
//! floor that survives restarts, the expiry of the files that prove it, and a rotation of the timestamp key.

mod bins;
mod error;
mod floor;
mod law;
mod lookup;
mod products;
mod signed;
mod source;
mod target;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use bins::{BadBins, Bins, INDEX, Index, Indexed, index, index_of, product_of, worth_listing};
pub use error::TrustError;
pub use lookup::{BadTarget, FoundTarget};
pub use signed::{Authority, Counted, KeyKinds, LABELS, MINISIGN, REVOKED, SignedFile};
pub use source::{Source, SourceError};
pub use target::{Releases, Signer, VerifiedTarget};

use crate::layout::{self, limit};
use crate::{Product, PublicKey};
use floor::Floor;
use law::Law;
pub(crate) use law::names;
use source::{fetch, need, pinned};

/// What was trusted, to be persisted: file name (`root.json`, `timestamp.json`, `snapshot.json`,
/// `targets.json`, `ROLE.json` as [`layout::kept`] writes it) to the exact bytes as downloaded.
pub type Kept = BTreeMap<String, Vec<u8>>;

/// A trusted role, for people: which version, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleState {
    /// The role.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
}

/// What is trusted now.
#[derive(Clone, Debug)]
pub struct Trust {
    law: Law,
    kept: Kept,
}

impl Trust {
    /// Begins from a pinned root file. Its expiry is looked at in [`Trust::refresh`], after newer roots.
    ///
    /// # Errors
    /// It is no root, or not signed by a threshold of its own distinct keys.
    pub fn from_root(root: &[u8]) -> Result<Self, TrustError> {
        Self::from_root_with(root, KeyKinds::Ours)
    }

    /// [`Trust::from_root`] of a repository that another program makes, where other kinds of keys may count. Its
    /// files are found by [`Trust::target`].
    ///
    /// # Errors
    /// As [`Trust::from_root`].
    pub fn from_root_with(root: &[u8], kinds: KeyKinds) -> Result<Self, TrustError> {
        let law = Law::from_root(root, kinds)?;
        Ok(Self { law, kept: Kept::from([("root.json".to_owned(), root.to_vec())]) })
    }

    /// Continues from what [`Trust::kept`] gave. `root` is the pinned root, used where it is newer than the kept
    /// one. Kept files pass the same checks as downloaded ones; expired ones still are floors against rollback.
    /// Kept files below root that do not verify (any more) are dropped: they will be downloaded.
    ///
    /// # Errors
    /// The pinned or the kept root is no valid root.
    pub fn restore(root: &[u8], kept: &Kept, now: Timestamp) -> Result<Self, TrustError> {
        Self::restore_with(root, kept, KeyKinds::Ours, now)
    }

    /// [`Trust::restore`] of a repository that another program makes, where other kinds of keys may count.
    ///
    /// # Errors
    /// As [`Trust::restore`].
    pub fn restore_with(
        root: &[u8],
        kept: &Kept,
        kinds: KeyKinds,
        now: Timestamp,
    ) -> Result<Self, TrustError> {
        let mut this = Self::from_root_with(root, kinds)?;
        let mut kept = kept.clone();
        if let Some(bytes) = kept.get("root.json") {
            let law = Law::from_root(bytes, kinds)?;
            if law.root().version() > this.law.root().version() {
                this.law = law;
            } else {
                kept.insert("root.json".to_owned(), root.to_vec());
            }
        } else {
            kept.insert("root.json".to_owned(), root.to_vec());
        }
        this.kept = kept;
        this.load_kept(now);
        Ok(this)
    }

    /// The exact bytes of what is trusted. Persist them after every [`Trust::refresh`] and [`Trust::releases`],
    /// also after a failed one: what was verified before the failure is a floor.
    pub fn kept(&self) -> Kept {
        self.kept.clone()
    }

    /// The bytes of one trusted role.
    #[cfg(feature = "authoring")]
    pub(crate) fn file(&self, role: &str) -> Option<&Vec<u8>> {
        self.kept.get(&layout::kept(role))
    }

    /// Follows newer roots that are at hand, offline. Roots not newer than the trusted one are passed over.
    ///
    /// # Errors
    /// The next newer one does not follow from the trusted one.
    pub fn follow<'a>(
        &mut self,
        roots: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), TrustError> {
        for bytes in roots {
            let version = SignedFile::parse("root", bytes)?.version();
            if version > self.law.root().version() {
                self.law.next_root(bytes)?;
                self.keep("root", bytes);
            }
        }
        Ok(())
    }

    /// The trusted root.
    pub fn root(&self) -> &SignedFile {
        self.law.root()
    }

    /// The trusted targets, after a refresh.
    pub fn targets(&self) -> Option<&SignedFile> {
        self.law.targets()
    }

    /// Who signs anything here, and what people call them.
    pub fn keys(&self) -> BTreeMap<PublicKey, Signer> {
        names([self.law.root()].into_iter().chain(self.law.targets()))
    }

    /// The products that the trusted targets delegate to.
    pub fn products(&self) -> Vec<Product> {
        let roles = self.law.targets().and_then(|t| t.signed().pointer("/delegations/roles"));
        let names = roles.and_then(|r| r.as_array()).into_iter().flatten();
        names.filter_map(|r| r.get("name")?.as_str()?.parse().ok()).collect()
    }

    /// Versions and expiry of the top-level roles that are trusted.
    pub fn roles(&self) -> Vec<RoleState> {
        let state = |(role, version, expires): (&str, _, _)| RoleState {
            role: role.to_owned(),
            version,
            expires,
        };
        self.law.top_level().into_iter().map(state).collect()
    }

    /// The TUF client workflow down to the top-level targets.
    ///
    /// # Errors
    /// A file is missing, cannot be fetched, or is refused. What was verified before that stays.
    pub fn refresh(&mut self, now: Timestamp, source: &mut dyn Source) -> Result<(), TrustError> {
        self.refresh_root(source)?;
        self.law.check_root(now)?;
        if !self.law.has_timestamp() {
            self.load_kept(now);
        }
        let bytes = need(source, layout::TIMESTAMP, limit::TIMESTAMP)?;
        if self.law.timestamp(&bytes, now)? {
            self.keep("timestamp", &bytes);
        }
        self.law.check_timestamp(now)?;
        self.refresh_snapshot(now, source)?;
        self.refresh_targets(now, source)
    }

    /// TUF 5.3: version N+1, N+2, … until there is none.
    fn refresh_root(&mut self, source: &mut dyn Source) -> Result<(), TrustError> {
        for _ in 0..limit::ROOTS {
            let path = layout::metadata("root", self.law.root().version().saturating_add(1));
            let Some(bytes) = fetch(source, &path, limit::ROOT)? else { return Ok(()) };
            self.law.next_root(&bytes)?;
            self.keep("root", &bytes);
        }
        Err(TrustError::TooManyRoots { limit: limit::ROOTS })
    }

    fn refresh_snapshot(
        &mut self,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<(), TrustError> {
        let pin = self.law.snapshot_pin()?;
        if self.law.has_fresh_snapshot(pin.version, now) {
            return Ok(());
        }
        let bytes = pinned(source, "snapshot", &pin)?;
        let floor = Floor::of(self.law.root(), self.law.kinds(), self.kept.get("snapshot.json"));
        self.law.snapshot(&bytes, now, floor.as_ref())?;
        self.keep("snapshot", &bytes);
        Ok(())
    }

    fn refresh_targets(
        &mut self,
        now: Timestamp,
        source: &mut dyn Source,
    ) -> Result<(), TrustError> {
        let pin = self
            .law
            .pin("targets")?
            .ok_or_else(|| TrustError::malformed("snapshot", "it lists no targets"))?;
        if self.law.has_fresh_targets(pin.version, now) {
            return Ok(());
        }
        if let Some(kept) = self.kept.get("targets.json")
            && self.law.top_targets(kept, now).is_ok()
        {
            return Ok(());
        }
        let bytes = pinned(source, "targets", &pin)?;
        self.law.top_targets(&bytes, now)?;
        self.keep("targets", &bytes);
        Ok(())
    }

    fn keep(&mut self, role: &str, bytes: &[u8]) {
        self.kept.insert(layout::kept(role), bytes.to_vec());
    }

    /// Loads kept files as floors: at the beginning of time nothing has expired. They authorise nothing by that,
    /// since every use checks expiry again.
    fn load_kept(&mut self, now: Timestamp) {
        let floor = Timestamp::MIN;
        let kept = |role: &str| self.kept.get(&layout::kept(role));
        let (timestamp, snapshot, targets) = (kept("timestamp"), kept("snapshot"), kept("targets"));
        let _dropped = timestamp.map(|bytes| self.law.timestamp(bytes, floor));
        let _dropped = snapshot.map(|bytes| self.law.snapshot(bytes, floor, None));
        let _dropped = targets.map(|bytes| self.law.top_targets(bytes, now));
    }
}
