//! What of `NODE/trust` can be handed on to other nodes, under the names that a repository gives it.
//!
//! ```text
//! NODE/trust/N.root   each root on the way to the trusted one: a node that pinned an older one needs them all
//! ```

use std::collections::BTreeMap;

use countersign_metadata::layout::{self, limit};
use countersign_metadata::trust::{Releases, RoleState, SignedFile, VerifiedTarget};
use countersign_metadata::{Product, Sha256};
use jiff::Timestamp;
use serde_json::json;

use super::{Offline, TrustDir, TrustStoreError, instance, load, verdicts};
use crate::durable::{self, DiskError, OnDisk};
use crate::{Config, Home};

/// Metadata and verdicts by their paths in a repository, and the releases that they vouch for.
#[derive(Debug, Default)]
pub struct HandedOn {
    /// Exactly as downloaded.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Those of the node's product; none where the metadata has expired.
    pub releases: Releases,
}

/// Everything that was kept, as a repository would serve it.
///
/// # Errors
/// Nothing was kept, or the disk fails.
pub fn handed_on(
    home: &Home,
    config: &Config,
    now: Timestamp,
) -> Result<HandedOn, TrustStoreError> {
    let mut trust = load(home, now)?;
    let mut files = roots(home)?;
    for (name, bytes) in trust.kept() {
        if name == "timestamp.json" {
            files.insert(layout::TIMESTAMP.to_owned(), bytes);
        } else if let Ok(file) = SignedFile::parse(name.trim_end_matches(".json"), &bytes) {
            files.insert(format!("metadata/{}.{name}", file.version()), bytes);
        }
    }
    if let Some((path, bytes)) = instance::kept(home, &mut trust, now)? {
        files.insert(path, bytes);
    }
    let releases = trust
        .releases_for(&config.product, &config.platform, now, &mut Offline)
        .unwrap_or_default();
    for release in releases.verified.iter().map(VerifiedTarget::release) {
        let artifact = &release.artifact.sha256;
        let envelopes = verdicts::read_verdicts(&verdicts::kept_verdicts(home, release))?;
        let names: Vec<_> = envelopes.iter().map(|text| Sha256::of(text.as_bytes())).collect();
        if !names.is_empty() {
            let index = json!({ "envelopes": names }).to_string();
            files.insert(layout::attestation_index(artifact), index.into_bytes());
        }
        for (name, text) in names.iter().zip(envelopes) {
            files.insert(layout::attestation(artifact, name), text.into_bytes());
        }
    }
    Ok(HandedOn { files, releases })
}

/// Until when each trusted role is valid, the product's own among them.
///
/// # Errors
/// Nothing was kept, or the disk fails.
pub fn expiries(
    home: &Home,
    product: &Product,
    now: Timestamp,
) -> Result<Vec<RoleState>, TrustStoreError> {
    let trust = load(home, now)?;
    let mut roles = trust.roles();
    let role = product.to_string();
    if let Some(bytes) = trust.kept().get(&layout::kept(&role))
        && let Ok(file) = SignedFile::parse(&role, bytes)
    {
        roles.push(RoleState { role, version: file.version(), expires: file.expires() });
    }
    Ok(roles)
}

/// The version in `metadata/N.root.json`.
pub(super) fn root_version(path: &str) -> Option<u64> {
    path.strip_prefix("metadata/")?.strip_suffix(".root.json")?.parse().ok()
}

/// Keeps the roots that were followed. One beyond the trusted root was refused.
pub(super) fn keep_roots(
    home: &Home,
    trusted: u64,
    seen: Vec<(u64, Vec<u8>)>,
) -> Result<(), DiskError> {
    for (version, bytes) in seen.into_iter().filter(|(version, _)| *version <= trusted) {
        let path = home.trust().join(format!("{version}.root"));
        if durable::read(&path, limit::ROOT)?.as_ref() != Some(&bytes) {
            durable::write(&path, &bytes)?;
        }
    }
    Ok(())
}

/// The pinned root and those after it, by their paths.
fn roots(home: &Home) -> Result<BTreeMap<String, Vec<u8>>, DiskError> {
    let mut found = BTreeMap::new();
    let dir = TrustDir::new(home.trust());
    let entries = std::fs::read_dir(dir.path()).on_disk("read", dir.path())?;
    let mut paths = vec![home.pinned_root()];
    for entry in entries {
        let path = entry.on_disk("read", dir.path())?.path();
        if path.extension().is_some_and(|extension| extension == "root") {
            paths.push(path);
        }
    }
    for path in paths {
        let bytes = durable::read(&path, limit::ROOT)?.unwrap_or_default();
        if let Ok(root) = SignedFile::parse("root", &bytes) {
            found.insert(layout::metadata("root", root.version()), bytes);
        }
    }
    Ok(found)
}
