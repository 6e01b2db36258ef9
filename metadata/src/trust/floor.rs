//! Versions below which nothing may fall: read from the last snapshot that was trusted.
//!
//! TUF 5.5.5 compares a new snapshot with the trusted one. That one stays trusted as long as the current root's
//! snapshot keys have signed it, whatever became of the timestamp that once led to it. Rotating the snapshot
//! keys lifts the floor (5.3.11: recovery from fast-forward).

use std::collections::BTreeMap;

use serde_json::Value;

use super::TrustError;
use super::signed::{Authority, KeyKinds, SignedFile};

pub(super) struct Floor {
    snapshot: u64,
    roles: BTreeMap<String, u64>,
}

impl Floor {
    /// The floor that a kept snapshot is under this root; none if its keys are no longer the root's.
    pub(super) fn of(root: &SignedFile, kinds: KeyKinds, kept: Option<&Vec<u8>>) -> Option<Self> {
        let file = SignedFile::parse("snapshot", kept?).ok()?;
        Authority::of_root_with(root, "snapshot", kinds).ok()?.count(&file).ok()?;
        Some(Self { snapshot: file.version(), roles: versions(&file) })
    }

    /// Compares a candidate with the floor.
    pub(super) fn check(&self, file: &SignedFile) -> Result<(), TrustError> {
        let offered = versions(file);
        let rollback = |role: &str, trusted, offered| {
            Err(TrustError::Rollback { role: role.to_owned(), trusted, offered })
        };
        if file.version() < self.snapshot {
            return rollback("snapshot", self.snapshot, file.version());
        }
        for (role, &trusted) in &self.roles {
            match offered.get(role) {
                None => return Err(TrustError::Removed { role: role.clone() }),
                Some(&offered) if offered < trusted => return rollback(role, trusted, offered),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn versions(snapshot: &SignedFile) -> BTreeMap<String, u64> {
    let meta = snapshot.signed().get("meta").and_then(Value::as_object);
    meta.into_iter()
        .flatten()
        .filter_map(|(file, pin)| {
            let role = file.strip_suffix(".json").unwrap_or(file);
            Some((role.to_owned(), pin.get("version")?.as_u64()?))
        })
        .collect()
}
