//! `NODE/trust/trusted_root`: the repository's `trusted_root.json`, by which keyless statements are verified offline.
//!
//! A TUF target of the top-level role, so keyholders have signed its digest. It is fetched from a mirror once, kept
//! without the ending `.json` (those are roles), and held against the signed digest whenever it is used.

use countersign_metadata::sigstore::TrustedRoot;
use countersign_metadata::trust::{Source, Trust, TrustError};
use countersign_metadata::trusted_root::{MAX, TARGET};
use jiff::Timestamp;

use super::Offline;
use crate::Home;
use crate::durable::{self, DiskError};

/// The trusted root that keyholders have signed: the kept one if it is that, else the source's, which is then kept.
/// `None`: there is none, or one of a kind that this program cannot use. Then no keyless statement counts.
///
/// The outer error is this disk's, the inner one the source's.
pub(super) fn trusted_root(
    home: &Home,
    trust: &mut Trust,
    now: Timestamp,
    source: &mut dyn Source,
) -> Result<Result<Option<TrustedRoot>, TrustError>, DiskError> {
    let file = home.trust().join("trusted_root");
    let kept = durable::read(&file, MAX)?;
    let signed = match signed_trusted_root(trust, now, source, kept.as_deref()) {
        Ok(signed) => signed,
        Err(error) => return Ok(Err(error)),
    };
    if let Some(bytes) = signed.as_ref().filter(|bytes| kept.as_ref() != Some(bytes)) {
        durable::write(&file, bytes)?;
    }
    Ok(Ok(signed.and_then(|bytes| TrustedRoot::parse(&bytes).ok())))
}

/// The kept trusted root and its path in a repository, if it is the one that keyholders have signed.
pub(super) fn kept(
    home: &Home,
    trust: &mut Trust,
    now: Timestamp,
) -> Result<Option<(String, Vec<u8>)>, DiskError> {
    let Some(bytes) = durable::read(&home.trust().join("trusted_root"), MAX)? else {
        return Ok(None);
    };
    let signed = trust.target(TARGET, now, &mut Offline).ok().flatten();
    let signed = signed.filter(|found| found.role() == "targets" && found.check(&bytes).is_ok());
    Ok(signed.map(|found| (found.served_at(), bytes)))
}

/// The bytes of the repository's `trusted_root.json`, as the trusted targets list them; `kept` where they are that.
///
/// # Errors
/// Nothing is trusted (any more), or the source does not answer, or with other bytes than are signed.
pub fn signed_trusted_root(
    trust: &mut Trust,
    now: Timestamp,
    source: &mut dyn Source,
    kept: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, TrustError> {
    let found = trust.target(TARGET, now, source)?;
    // Whoever signs one product's releases has no say in whose word counts for all.
    let Some(found) = found.filter(|found| found.role() == "targets") else { return Ok(None) };
    if let Some(kept) = kept.filter(|kept| found.check(kept).is_ok()) {
        return Ok(Some(kept.to_vec()));
    }
    let path = found.served_at();
    if found.length() > MAX {
        return Err(TrustError::TooLong { path, limit: MAX });
    }
    let came = source.fetch(&path, found.length()).map_err(|error| TrustError::Unreachable {
        path: path.clone(),
        retry: error.retry(),
        source: error.into_cause(),
    })?;
    let bytes = came.ok_or(TrustError::Missing { path })?;
    let other = |error| TrustError::OtherBytes { role: TARGET.to_owned(), source: Box::new(error) };
    found.check(&bytes).map_err(other)?;
    Ok(Some(bytes))
}
