//! `NODE/trust/SHA256.verdicts`: envelopes and bundles with rebuilders' verdicts about an artifact, which were verified once and are
//! verified again whenever they count. A mirror that hides them later changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use countersign_metadata::layout::limit;
use countersign_metadata::sigstore::TrustedRoot;
use countersign_metadata::trust::{Releases, VerifiedTarget};
use countersign_metadata::{PublicKey, Release, Sha256};
use jiff::Timestamp;

use super::{Offline, TrustStoreError, instance, load};
use crate::durable::{self, DiskError, OnDisk};
use crate::rebuilder::Rebuilder;
use crate::verify::Reproduced;
use crate::{Config, Home, policy, verify};

/// Longest file of kept verdicts, in bytes: as many as a mirror may have, each escaped as a JSON string.
const MAX_VERDICTS: u64 = 4 * limit::ATTESTATIONS as u64 * limit::ATTESTATION;

/// Who reproduced a release, by what was kept and by what has come now; keeps the verdicts that count.
pub(super) fn counted(
    home: &Home,
    config: &Config,
    target: &VerifiedTarget,
    come: Vec<Vec<u8>>,
    root: Option<&TrustedRoot>,
) -> Result<Reproduced, DiskError> {
    let path = kept_verdicts(home, target.release());
    let kept = read_verdicts(&path)?;
    let all: Vec<Vec<u8>> = kept.iter().cloned().map(String::into_bytes).chain(come).collect();
    let (verdicts, envelopes) = verify::believe(&all, target.release(), root);
    // Anybody can make keys, and get certificates: strangers' verdicts could fill the disk.
    let signers = signers(target);
    let vouched = verdicts.vouched_by(&signers);
    let roster = policy::roster(config, target);
    // Whatever verifies is JSON, and so it is text.
    let counting: Vec<_> = envelopes
        .iter()
        .filter(|(by, _)| roster.contains(by) || is_vouched(by, &vouched))
        .map(|(_, bytes)| String::from_utf8_lossy(bytes))
        .collect();
    if counting != kept {
        let bytes = serde_json::to_vec(&counting).map_err(std::io::Error::from);
        durable::write(&path, &bytes.on_disk("write", &path)?)?;
    }
    Ok(verdicts.reproduced(&signers))
}

fn is_vouched(by: &Rebuilder, vouched: &BTreeSet<PublicKey>) -> bool {
    matches!(by, Rebuilder::Key(key) if vouched.contains(key))
}

fn signers(target: &VerifiedTarget) -> BTreeSet<PublicKey> {
    target.signers().iter().map(|signer| *signer.key()).collect()
}

/// Who reproduced which release, by what was kept, without asking anybody.
///
/// # Errors
/// The disk fails, or nothing was kept that still is good.
pub fn kept_reproducers(
    home: &Home,
    releases: &Releases,
    now: Timestamp,
) -> Result<BTreeMap<Sha256, Reproduced>, TrustStoreError> {
    let root = instance::trusted_root(home, &mut load(home, now)?, now, &mut Offline)?;
    // Without a kept one no bundle counts, which is all that this machine knows.
    let root = root.unwrap_or_default();
    let mut reproduced = BTreeMap::new();
    for target in &releases.verified {
        let release = target.release();
        let kept = read_verdicts(&kept_verdicts(home, release))?;
        let kept: Vec<_> = kept.into_iter().map(String::into_bytes).collect();
        let (verdicts, _) = verify::believe(&kept, release, root.as_ref());
        reproduced.insert(release.artifact.sha256, verdicts.reproduced(&signers(target)));
    }
    Ok(reproduced)
}

pub(super) fn kept_verdicts(home: &Home, release: &Release) -> PathBuf {
    home.trust().join(format!("{}.verdicts", release.artifact.sha256))
}

/// Envelopes as they were kept. A damaged file holds nothing that would verify.
pub(super) fn read_verdicts(path: &Path) -> Result<Vec<String>, DiskError> {
    let kept = durable::read(path, MAX_VERDICTS)?;
    Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}
