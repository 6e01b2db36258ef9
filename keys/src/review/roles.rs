//! The TUF roles as this house writes them, read strictly: what could not be shown to a keyholder is refused.

use std::collections::{BTreeMap, BTreeSet};

use countersign_metadata::{KeyId, PublicKey};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::file::TufFile;
use crate::Refused;

/// The four top-level roles.
pub(crate) const TOP: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

/// Who may sign, and how many must, as a review shows it. What counts signatures is `trust::Authority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holders {
    pub(crate) keys: BTreeMap<KeyId, PublicKey>,
    pub(crate) threshold: usize,
}

impl Holders {
    pub(crate) fn set(&self) -> BTreeSet<PublicKey> {
        self.keys.values().copied().collect()
    }
}

pub(super) type Labels = BTreeMap<KeyId, String>;
pub(super) type Other = BTreeMap<String, Value>;

/// What every role says.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Head {
    /// Checked already by the law.
    #[serde(rename = "_type")]
    _kind: String,
    spec_version: String,
    pub(crate) version: u64,
    pub(crate) expires: Timestamp,
}

/// A role that can be read from a file.
pub(crate) trait Role: Sized {
    fn parse(file: &TufFile) -> Result<Self, Refused>;
    fn head(&self) -> &Head;

    /// Reads the role from a file that was parsed as one.
    fn of(file: &TufFile) -> Result<Self, Refused> {
        let head: Head = file.read()?;
        if head.spec_version.split('.').next() != Some("1") || head.version == 0 {
            let reason = "it is not TUF 1.x, or its version is 0";
            return Err(Refused::malformed(file.what(), reason));
        }
        Self::parse(file)
    }
}

/// The root role.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) head: Head,
    pub(crate) roles: BTreeMap<String, Holders>,
    pub(crate) labels: Labels,
    pub(crate) other: Other,
}

#[derive(Deserialize)]
struct RawRoot {
    #[serde(flatten)]
    head: Head,
    consistent_snapshot: bool,
    keys: BTreeMap<KeyId, Value>,
    roles: BTreeMap<String, RawHolders>,
    #[serde(default, rename = "x-countersign-labels")]
    labels: Labels,
    #[serde(default, rename = "x-countersign-minisign")]
    minisign: BTreeMap<KeyId, PublicKey>,
    #[serde(flatten)]
    other: Other,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHolders {
    pub(super) keyids: Vec<KeyId>,
    pub(super) threshold: usize,
}

impl Role for Root {
    fn parse(file: &TufFile) -> Result<Self, Refused> {
        let raw: RawRoot = file.read()?;
        let what = file.what();
        if !raw.consistent_snapshot {
            return Err(Refused::malformed(what, "only consistent snapshots are supported"));
        }
        written(what, &raw.minisign)?;
        let keys = keys(what, raw.keys)?;
        let mut roles = BTreeMap::new();
        for (role, raw) in raw.roles {
            let holders = holders(what, &role, &keys, raw)?;
            roles.insert(role, holders);
        }
        if !roles.keys().map(String::as_str).eq(sorted(TOP)) {
            return Err(Refused::malformed(what, "its roles are not the four of TUF"));
        }
        all_used(what, &keys, roles.values())?;
        Ok(Self { head: raw.head, roles, labels: raw.labels, other: raw.other })
    }

    fn head(&self) -> &Head {
        &self.head
    }
}

/// Which versions of which files: the snapshot and timestamp roles.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) head: Head,
    pub(crate) files: BTreeMap<String, u64>,
    pub(crate) other: Other,
}

#[derive(Deserialize)]
struct RawListing {
    #[serde(flatten)]
    head: Head,
    meta: BTreeMap<String, RawListed>,
    #[serde(flatten)]
    other: Other,
}

#[derive(Deserialize)]
struct RawListed {
    version: u64,
}

impl Role for Listing {
    fn parse(file: &TufFile) -> Result<Self, Refused> {
        let raw: RawListing = file.read()?;
        let files = raw.meta.into_iter().map(|(name, listed)| (name, listed.version)).collect();
        Ok(Self { head: raw.head, files, other: raw.other })
    }

    fn head(&self) -> &Head {
        &self.head
    }
}

/// Keys whose identifiers are derived from them, not believed.
pub(super) fn keys(
    what: &str,
    raw: BTreeMap<KeyId, Value>,
) -> Result<BTreeMap<KeyId, PublicKey>, Refused> {
    let mut keys = BTreeMap::new();
    for (id, value) in raw {
        let key = serde_json::from_value(value).map_err(|e| Refused::malformed(what, e))?;
        let key = PublicKey::from_tuf(&key).map_err(|e| Refused::malformed(what, e))?;
        if key.id() != id {
            let reason = format!("key id {id} is not that of its key");
            return Err(Refused::malformed(what, reason));
        }
        keys.insert(id, key);
    }
    Ok(keys)
}

/// A key that no role uses would be shown nowhere.
pub(super) fn all_used<'a>(
    what: &str,
    keys: &BTreeMap<KeyId, PublicKey>,
    roles: impl Iterator<Item = &'a Holders>,
) -> Result<(), Refused> {
    let used: BTreeSet<_> = roles.flat_map(|a| a.keys.keys()).collect();
    match keys.keys().find(|id| !used.contains(id)) {
        None => Ok(()),
        Some(id) => Err(Refused::malformed(what, format!("it lists key {id}, which no role uses"))),
    }
}

/// Keys as minisign writes them must be the keys of their identifiers: people compare either form.
pub(super) fn written(what: &str, keys: &BTreeMap<KeyId, PublicKey>) -> Result<(), Refused> {
    match keys.iter().find(|(id, key)| key.id() != **id) {
        None => Ok(()),
        Some((id, _)) => {
            Err(Refused::malformed(what, format!("it writes another minisign key for key id {id}")))
        }
    }
}

pub(super) fn holders(
    what: &str,
    role: &str,
    keys: &BTreeMap<KeyId, PublicKey>,
    raw: RawHolders,
) -> Result<Holders, Refused> {
    let mut own = BTreeMap::new();
    for id in raw.keyids {
        let key = keys.get(&id).ok_or_else(|| {
            Refused::malformed(what, format!("{role} names key {id}, which is not listed"))
        })?;
        own.insert(id, *key);
    }
    if !(1..=own.len()).contains(&raw.threshold) {
        let reason = format!("{role} asks for {} of {} keys", raw.threshold, own.len());
        return Err(Refused::malformed(what, reason));
    }
    Ok(Holders { keys: own, threshold: raw.threshold })
}

fn sorted<const N: usize>(mut names: [&str; N]) -> [&str; N] {
    names.sort_unstable();
    names
}
