//! The adapter over `sigstore-tuf`: its `TrustedMetadataSet` is the law, and here it is made stricter.
//!
//! Everything that enters passes both: our count of distinct keys ([`Authority`]) and the library's checks of
//! versions, digests, lengths and expiry. Nothing of the library's types leaves this file.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use sigstore_tuf::{Error, MetaFile, TrustedMetadataSet};

use super::floor::Floor;
use super::signed::{Authority, Counted, KeyKinds, SignedFile};
use super::{Signer, TrustError};
use crate::threshold::Quorum;
use crate::{PublicKey, Version};

/// What one role says about the file of another.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub(super) version: u64,
    pub(super) length: Option<u64>,
    pub(super) sha256: Option<String>,
}

impl Pin {
    fn of(meta: &MetaFile) -> Self {
        let sha256 = meta.hashes.as_ref().and_then(|h| h.get("sha256").cloned());
        Self { version: meta.version, length: meta.length, sha256 }
    }
}

/// One entry of a trusted product role, not yet read as a release.
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) length: u64,
    pub(super) sha256: Option<String>,
    pub(super) custom: Option<serde_json::Value>,
    pub(super) delegated: bool,
}

/// A trusted product role.
pub(super) struct ProductRole {
    pub(super) version: u64,
    pub(super) threshold: usize,
    pub(super) signers: Vec<Signer>,
    pub(super) entries: Vec<Entry>,
    pub(super) revoked: BTreeSet<Version>,
    pub(super) rollouts: BTreeMap<String, serde_json::Value>,
}

/// What a role says about a target: length in bytes, algorithm to hexadecimal digest.
pub(super) struct Listed {
    pub(super) length: u64,
    pub(super) hashes: BTreeMap<String, String>,
}

/// A role that a path is delegated to.
pub(super) struct Below {
    pub(super) role: String,
    pub(super) terminating: bool,
}

/// A trusted delegated role, its entries not yet looked at.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) file: SignedFile,
    threshold: usize,
    signers: Vec<Signer>,
}

/// What is trusted now.
#[derive(Clone, Debug)]
pub(super) struct Law {
    set: TrustedMetadataSet,
    kinds: KeyKinds,
    root: SignedFile,
    targets: Option<SignedFile>,
}

impl Law {
    pub(super) fn from_root(bytes: &[u8], kinds: KeyKinds) -> Result<Self, TrustError> {
        let root = SignedFile::parse("root", bytes)?;
        Authority::of_root_with(&root, "root", kinds)?.count(&root)?;
        let set = TrustedMetadataSet::from_root(bytes).map_err(|e| told("root", e))?;
        Ok(Self { set, kinds, root, targets: None })
    }

    pub(super) fn kinds(&self) -> KeyKinds {
        self.kinds
    }

    /// Who may sign a top-level role now.
    fn authority(&self, role: &str) -> Result<Authority, TrustError> {
        Authority::of_root_with(&self.root, role, self.kinds)
    }

    pub(super) fn root(&self) -> &SignedFile {
        &self.root
    }

    pub(super) fn targets(&self) -> Option<&SignedFile> {
        self.targets.as_ref()
    }

    /// TUF 5.3.4, 5.3.5: signed by a threshold of the trusted root *and* of itself; exactly the next version.
    pub(super) fn next_root(&mut self, bytes: &[u8]) -> Result<(), TrustError> {
        let next = SignedFile::parse("root", bytes)?;
        self.authority("root")?.count(&next)?;
        Authority::of_root_with(&next, "root", self.kinds)?.count(&next)?;
        self.set.update_root(bytes).map_err(|e| told("root", e))?;
        self.root = next;
        self.targets = None;
        Ok(())
    }

    /// TUF 5.3.10, after the whole chain: the final root is fresh. It must also be one that we can use.
    pub(super) fn check_root(&self, now: Timestamp) -> Result<(), TrustError> {
        fresh(&self.root, now)?;
        if !self.set.root().consistent_snapshot {
            return Err(TrustError::NotConsistent { version: self.root.version() });
        }
        for role in ["timestamp", "snapshot", "targets"] {
            self.authority(role)?;
        }
        Ok(())
    }

    /// TUF 5.4. Returns whether the file replaced the trusted one; the same version is no news.
    pub(super) fn timestamp(&mut self, bytes: &[u8], now: Timestamp) -> Result<bool, TrustError> {
        let file = SignedFile::parse("timestamp", bytes)?;
        self.authority("timestamp")?.count(&file)?;
        match self.set.update_timestamp(bytes, beyond(now)) {
            Ok(()) => Ok(true),
            Err(Error::EqualVersion { .. }) => Ok(false),
            Err(Error::Expired { .. }) => Err(expired(&file)),
            Err(error) => Err(told("timestamp", error)),
        }
    }

    pub(super) fn has_timestamp(&self) -> bool {
        self.set.timestamp().is_some()
    }

    /// The trusted timestamp, which may have been kept from earlier, is still fresh.
    pub(super) fn check_timestamp(&self, now: Timestamp) -> Result<(), TrustError> {
        let timestamp = self.set.timestamp().ok_or(TrustError::NotRefreshed)?;
        fresh_at("timestamp", timestamp.version, timestamp.expires, now)
    }

    pub(super) fn snapshot_pin(&self) -> Result<Pin, TrustError> {
        let timestamp = self.set.timestamp().ok_or(TrustError::NotRefreshed)?;
        let meta = timestamp
            .snapshot_meta()
            .ok_or_else(|| TrustError::malformed("timestamp", "it names no snapshot"))?;
        Ok(Pin::of(meta))
    }

    /// TUF 5.5. The library compares with the snapshot that it holds, and holds none after a rotation of the
    /// timestamp key or a refresh that broke off between timestamp and snapshot: the floor still knows.
    pub(super) fn snapshot(
        &mut self,
        bytes: &[u8],
        now: Timestamp,
        floor: Option<&Floor>,
    ) -> Result<(), TrustError> {
        let file = SignedFile::parse("snapshot", bytes)?;
        self.authority("snapshot")?.count(&file)?;
        if let Some(floor) = floor {
            floor.check(&file)?;
        }
        self.set.update_snapshot(bytes, beyond(now)).map_err(|error| match error {
            Error::Expired { ref role, .. } if role == "snapshot" => expired(&file),
            error => told("snapshot", error),
        })?;
        self.targets = None;
        Ok(())
    }

    pub(super) fn has_fresh_snapshot(&self, version: u64, now: Timestamp) -> bool {
        self.set.snapshot().is_some_and(|s| s.version == version && s.expires > now)
    }

    /// What the trusted snapshot says about a targets role.
    pub(super) fn pin(&self, role: &str) -> Result<Option<Pin>, TrustError> {
        let snapshot = self.set.snapshot().ok_or(TrustError::NotRefreshed)?;
        let meta = snapshot.meta.get(&format!("{role}.json"));
        Ok(meta.map(Pin::of))
    }

    /// TUF 5.6.
    pub(super) fn top_targets(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), TrustError> {
        let file = SignedFile::parse("targets", bytes)?;
        self.authority("targets")?.count(&file)?;
        self.set.update_targets(bytes, beyond(now)).map_err(|error| match error {
            Error::Expired { ref role, .. } if role == "targets" => expired(&file),
            error => told("targets", error),
        })?;
        self.targets = Some(file);
        Ok(())
    }

    pub(super) fn has_fresh_targets(&self, version: u64, now: Timestamp) -> bool {
        self.targets.as_ref().is_some_and(|t| t.version() == version && t.expires() > now)
    }

    /// The whole chain is fresh and agrees with itself at the time of use, not only when it was loaded: a
    /// refresh that failed half-way leaves no authority behind.
    pub(super) fn check_chain(&self, now: Timestamp) -> Result<&SignedFile, TrustError> {
        self.check_root(now)?;
        self.check_timestamp(now)?;
        let snapshot = self.set.snapshot().ok_or(TrustError::NotRefreshed)?;
        fresh_at("snapshot", snapshot.version, snapshot.expires, now)?;
        let targets = self.targets.as_ref().ok_or(TrustError::NotRefreshed)?;
        fresh(targets, now)?;
        if self.snapshot_pin()?.version != snapshot.version
            || self.pin("targets")?.map(|p| p.version) != Some(targets.version())
        {
            return Err(TrustError::NotRefreshed);
        }
        Ok(targets)
    }

    /// TUF 5.6.7 for one role: `above` delegates to it.
    pub(super) fn delegated(
        &mut self,
        above: &SignedFile,
        role: &str,
        bytes: &[u8],
        kinds: KeyKinds,
        now: Timestamp,
    ) -> Result<Loaded, TrustError> {
        let targets = self.check_chain(now)?;
        let authority = Authority::of_delegation_with(above, role, kinds)?;
        let file = SignedFile::parse(role, bytes)?;
        let quorum = authority.count(&file)?;
        let signers = named(&quorum, [targets, &self.root]);
        let now = beyond(now);
        self.set.update_delegated_targets(bytes, role, above.role(), now).map_err(|error| {
            match error {
                Error::Expired { role: ref which, .. } if which == role => expired(&file),
                error => told(role, error),
            }
        })?;
        Ok(Loaded { threshold: authority.threshold(), signers, file })
    }

    /// The entries of a loaded role. `way`: the roles on the way to it, each with the one below that it must have
    /// delegated a path to; `wanted` picks paths.
    pub(super) fn entries(
        &self,
        loaded: &Loaded,
        way: &[(&str, &str)],
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<ProductRole, TrustError> {
        let role = loaded.file.role();
        let unknown = |role: &str| TrustError::UnknownRole { role: role.to_owned() };
        let trusted = self.set.targets_role(role).ok_or_else(|| unknown(role))?;
        if trusted.delegations.as_ref().is_some_and(|d| !d.roles.is_empty()) {
            return Err(TrustError::DelegatesFurther { role: role.to_owned() });
        }
        let delegations = way
            .iter()
            .map(|(above, below)| {
                let delegations = self.set.targets_role(above).and_then(|t| t.delegations.as_ref());
                let delegation =
                    delegations.and_then(|d| d.roles.iter().find(|r| r.name == *below));
                delegation.ok_or_else(|| unknown(below))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let entry = |(path, target): (&String, &sigstore_tuf::TargetFile)| {
            let mut delegated = true;
            for delegation in &delegations {
                // `*` never matches `/`.
                delegated &= delegation.matches_path(path).map_err(|e| told("targets", e))?;
            }
            Ok(Entry {
                path: path.clone(),
                length: target.length,
                sha256: target.hashes.get("sha256").cloned(),
                custom: target.custom.clone(),
                delegated,
            })
        };
        let wanted = trusted.targets.iter().filter(|(path, _)| wanted(path));
        Ok(ProductRole {
            version: loaded.file.version(),
            threshold: loaded.threshold,
            signers: loaded.signers.clone(),
            entries: wanted.map(entry).collect::<Result<_, TrustError>>()?,
            revoked: loaded.file.revoked()?,
            rollouts: loaded.file.rollouts()?,
        })
    }

    /// What a loaded role says about a target.
    pub(super) fn listed(&self, role: &str, path: &str) -> Option<Listed> {
        let target = self.set.targets_role(role)?.target(path)?;
        Some(Listed { length: target.length, hashes: target.hashes.clone() })
    }

    /// TUF 5.6.7.2: the roles to which a loaded one delegates `path`, in its order, up to the first terminating one.
    pub(super) fn below(&self, role: &str, path: &str) -> Result<Vec<Below>, TrustError> {
        let trusted = self.set.targets_role(role);
        let Some(delegations) = trusted.and_then(|t| t.delegations.as_ref()) else {
            return Ok(Vec::new());
        };
        if delegations.extra.contains_key("succinct_roles") {
            let what = "it delegates to succinct roles, which are not followed here";
            return Err(TrustError::malformed(role, what));
        }
        let mut names = BTreeSet::new();
        let mut below = Vec::new();
        for delegation in &delegations.roles {
            if !names.insert(&delegation.name) {
                let what = format!("it delegates to {:?} twice", delegation.name);
                return Err(TrustError::malformed(role, what));
            }
            if delegation.matches_path(path).map_err(|e| told(role, e))? {
                let name = delegation.name.clone();
                below.push(Below { role: name, terminating: delegation.terminating });
            }
        }
        Ok(below)
    }

    /// Versions and expiry of the four top-level roles, as far as they are trusted.
    pub(super) fn top_level(&self) -> Vec<(&'static str, u64, Timestamp)> {
        let timestamp = self.set.timestamp().map(|t| ("timestamp", t.version, t.expires));
        let snapshot = self.set.snapshot().map(|s| ("snapshot", s.version, s.expires));
        let targets = self.targets.as_ref().map(|t| ("targets", t.version(), t.expires()));
        let root = Some(("root", self.root.version(), self.root.expires()));
        [root, targets, snapshot, timestamp].into_iter().flatten().collect()
    }
}

fn named(quorum: &Quorum<Counted>, files: [&SignedFile; 2]) -> Vec<Signer> {
    let names = names(files);
    let named = |key| names.get(key).cloned().unwrap_or_else(|| Signer::unnamed(*key));
    quorum.signers().filter_map(Counted::ours).map(named).collect()
}

/// Who is who by several files: the first that gives a key a label wins.
pub(crate) fn names<'a>(
    files: impl IntoIterator<Item = &'a SignedFile>,
) -> BTreeMap<PublicKey, Signer> {
    let mut names = BTreeMap::<PublicKey, Signer>::new();
    for (key, signer) in files.into_iter().flat_map(SignedFile::signers) {
        let known = names.entry(key).or_insert_with(|| signer.clone());
        if known.label().is_empty() {
            *known = signer;
        }
    }
    names
}

/// TUF asks for an expiry later than now; the library also accepts the very moment, and would keep in memory what is
/// refused here. So it is asked about the next moment.
fn beyond(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::from_nanos(1)).unwrap_or(now)
}

fn fresh(file: &SignedFile, now: Timestamp) -> Result<(), TrustError> {
    fresh_at(file.role(), file.version(), file.expires(), now)
}

fn fresh_at(
    role: &str,
    version: u64,
    expires: Timestamp,
    now: Timestamp,
) -> Result<(), TrustError> {
    if expires > now {
        return Ok(());
    }
    Err(TrustError::Expired { role: role.to_owned(), version, expires })
}

fn expired(file: &SignedFile) -> TrustError {
    let (version, expires) = (file.version(), file.expires());
    TrustError::Expired { role: file.role().to_owned(), version, expires }
}

/// The library's errors in our words.
fn told(role: &str, error: Error) -> TrustError {
    let role = role.to_owned();
    match error {
        Error::Rollback { role, trusted, new } => {
            TrustError::Rollback { role: role.replace(".json", ""), trusted, offered: new }
        }
        Error::BadRootVersion { trusted, new } => {
            TrustError::OtherVersion { role, wanted: trusted.saturating_add(1), found: new }
        }
        Error::IntegrityMismatch(_) => TrustError::OtherBytes { role, source: error.into() },
        Error::UnknownRole(role) => TrustError::UnknownRole { role },
        error => TrustError::Malformed { role, source: error.into() },
    }
}
