//! A release joins: the next version of its product's role, or of its bin and its product's index.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::draft::next_version;
use super::published::Published;
use super::{AuthoringError, Draft, roles};
use crate::delta::{self, Delta};
use crate::release::{Blob, Release};
use crate::request::SigningRequest;
use crate::trust::{INDEX, Indexed, REVOKED, SignedFile, index, index_of, worth_listing};

impl Draft {
    /// The next version of a product's role, with one release more. `served`: the `.tar.zst`.
    ///
    /// With bins it is the next version of one bin and of the index, each a request of its own: whoever signs,
    /// signs exactly the bytes of one file, with whatever tool.
    ///
    /// # Errors
    /// The release makes no sense, is there already, or its product is not in the repository. With bins: its bin
    /// was not loaded ([`Published::load_bin_of`]).
    pub fn release(
        published: &Published,
        release: &Release,
        served: Blob,
        expires: Timestamp,
    ) -> Result<Self, AuthoringError> {
        Self::release_with_deltas(published, release, (served, &[]), expires)
    }

    /// As [`Draft::release`], with what turns earlier artifacts into this one.
    ///
    /// # Errors
    /// As [`Draft::release`]; or no reader would take these deltas.
    pub fn release_with_deltas(
        published: &Published,
        release: &Release,
        (served, deltas): (Blob, &[Delta]),
        expires: Timestamp,
    ) -> Result<Self, AuthoringError> {
        let product = &release.product;
        let role = product.as_str();
        let unknown = || AuthoringError::UnknownProduct(product.clone());
        let last = published.file(role).ok_or_else(unknown)?;
        if published.revoked(product).contains(&release.version) {
            return Err(AuthoringError::Revoked { version: release.version.clone() });
        }
        let entry = entry(release, served, deltas)?;
        let targets = published.bytes("targets").cloned();
        let Some(bins) = published.bins(product)? else {
            let entries = added(Some(last), release, entry)?;
            let next = roles::next(last, expires, [("targets", Value::Object(entries))]);
            let request = next_version(published, role, &next, targets, None)?;
            return Self::from_requests(vec![request], Some(published));
        };

        let above = published.bytes(role).cloned();
        let name = bins.of(product, &release.target_path());
        let bin = published.file(&name);
        if bin.is_none() && published.version(&name) > 0 {
            return Err(AuthoringError::NotLoaded { role: name });
        }
        let entries = added(bin, release, entry)?;
        let next = match bin {
            Some(last) => roles::next(last, expires, [("targets", Value::Object(entries))]),
            None => roles::product(1, expires, entries),
        };
        let bin = next_version(published, &name, &next, above.clone(), targets.clone())?;
        let index = next_index(published, release, expires, (above, targets))?;
        Self::from_requests(vec![bin, index], Some(published))
    }
}

fn next_index(
    published: &Published,
    release: &Release,
    expires: Timestamp,
    (above, targets): (Option<Vec<u8>>, Option<Vec<u8>>),
) -> Result<SigningRequest, AuthoringError> {
    let role = index_of(&release.product);
    let last =
        published.file(&role).ok_or_else(|| AuthoringError::NotLoaded { role: role.clone() })?;
    let mut listed = index(last).map_err(AuthoringError::Published)?;
    let mut revoked = last.revoked().map_err(AuthoringError::Published)?;
    // A node does not look into every bin: what a release revokes, the index says.
    revoked.extend(release.revokes.iter().cloned());
    let (version, follows) = (release.version.clone(), release.follows.clone());
    listed.entry(release.platform.clone()).or_default().push(Indexed { version, follows });
    for releases in listed.values_mut() {
        *releases = worth_listing(std::mem::take(releases));
    }
    let changed = [(INDEX, json!(listed)), (REVOKED, json!(revoked))];
    let next = roles::next(last, expires, changed);
    next_version(published, &role, &next, above, targets)
}

fn entry(release: &Release, served: Blob, deltas: &[Delta]) -> Result<Value, AuthoringError> {
    let unwritable = |e: serde_json::Error| AuthoringError::Unwritable {
        role: release.product.to_string(),
        reason: e.to_string(),
    };
    let custom = delta::to_custom(release, deltas).map_err(unwritable)?;
    // What clients will do with it, done before anybody is asked to sign.
    Release::from_custom(&release.target_path(), Some(&custom))?;
    if delta::from_custom(Some(&custom)) != deltas {
        let (role, reason) = (release.product.to_string(), "readers would not take its deltas");
        return Err(AuthoringError::Unwritable { role, reason: reason.to_owned() });
    }
    let hashes = json!({ "sha256": served.sha256 });
    Ok(json!({ "length": served.length, "hashes": hashes, "custom": custom }))
}

fn added(
    last: Option<&SignedFile>,
    release: &Release,
    entry: Value,
) -> Result<Map<String, Value>, AuthoringError> {
    let path = release.target_path();
    let entries = last.and_then(|l| l.signed().get("targets")).and_then(Value::as_object);
    let mut entries = entries.cloned().unwrap_or_default();
    if entries.insert(path.clone(), entry).is_some() {
        return Err(AuthoringError::AlreadyReleased { path });
    }
    Ok(entries)
}
