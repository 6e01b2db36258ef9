//! The last step: snapshot and timestamp by the online key, files in their order, and a reader's eye on the result.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::accept::SignedRole;
use super::published::Published;
use super::{AuthoringError, roles};
use crate::layout::{self, limit};
use crate::request::{Bytes, FORMAT, RequestSubject, Signature, SigningRequest};
use crate::trust::{Authority, Kept, SignedFile, Source, SourceError, Trust, TrustError};

/// Whoever holds the online key: a command, an HSM, a test.
pub trait OnlineSigner {
    /// Signs a request.
    ///
    /// # Errors
    /// The signer refused or could not be asked.
    fn sign(
        &mut self,
        request: &SigningRequest,
    ) -> Result<Signature, Box<dyn std::error::Error + Send + Sync>>;
}

/// Until when the unattended roles are good.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// A new snapshot.
    pub snapshot: Timestamp,
    /// The new timestamp.
    pub timestamp: Timestamp,
    /// A snapshot that still says what is true is kept if it lasts beyond this moment.
    pub renew: Timestamp,
}

/// Files to be written, and the one that makes them count.
///
/// Where a publication rotates root, the new root comes *after* the timestamp: everything below it is signed for
/// the old root as well, so a client follows before the new root is there, and after. Only where the online key
/// changes and its old holder cannot sign once more (it is lost, or not to be trusted) the new root comes first,
/// and between the two renames clients are told to wait.
#[derive(Clone, Debug)]
pub struct Publication {
    files: Vec<(String, Vec<u8>)>,
    timestamp: Vec<u8>,
    after: Option<(String, Vec<u8>)>,
    first_root: Vec<u8>,
    before: Option<Kept>,
}

impl Publication {
    /// Signs a snapshot over the published and the newly signed roles, and a timestamp over that.
    ///
    /// `there` is the repository as it is: a snapshot that an interrupted run left is taken up again.
    ///
    /// # Errors
    /// The signer fails or uses a wrong key, or the first publication lacks a role.
    pub fn prepare(
        published: Option<&Published>,
        signed: Vec<SignedRole>,
        expiry: Expiry,
        there: &mut dyn Source,
        signer: &mut dyn OnlineSigner,
    ) -> Result<Self, AuthoringError> {
        Self::prepare_rotation(published, signed, expiry, there, signer, None)
    }

    /// As [`Publication::prepare`], where the online key may change: `previous` holds the old one and signs beside
    /// the new one. Without it clients are shut out between the renames of root and timestamp.
    ///
    /// # Errors
    /// As [`Publication::prepare`].
    pub fn prepare_rotation(
        published: Option<&Published>,
        mut signed: Vec<SignedRole>,
        expiry: Expiry,
        there: &mut dyn Source,
        signer: &mut dyn OnlineSigner,
        previous: Option<&mut dyn OnlineSigner>,
    ) -> Result<Self, AuthoringError> {
        // What an interrupted run has published already stays as it is, to the byte.
        signed.retain(|new| !published.is_some_and(|p| p.has(new)));
        let roots = chain(published, &signed)?;
        let newest = roots.last().ok_or_else(|| plan("there is no root"))?;
        let root = SignedFile::parse("root", newest).map_err(AuthoringError::Published)?;

        // What the snapshot lists: what it listed before, new where new.
        let mut listed: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
        let (mut files, mut new_root) = (Vec::new(), None);
        for SignedRole { role, version, bytes } in signed {
            let path = layout::metadata(&role, version);
            if role == "root" {
                new_root = Some((path, bytes));
                continue;
            }
            listed.insert(role, (version, bytes.clone()));
            files.push((path, bytes));
        }
        // Delegated roles before those that delegate to them.
        let rank = |path: &str| match path {
            path if path.ends_with(".targets.json") => 2,
            path => u8::from(path.matches('.').count() == 2),
        };
        files.sort_by_key(|(path, _)| rank(path));

        let mut online =
            Online { published, root: &root, old: None, roots: &roots, signer, previous };
        if let (Some(published), Some(_)) = (published, &new_root)
            && (online.previous.is_some() || online.same_keys(published)?)
        {
            online.old = Some(published.trust().root());
        }
        let root_last = online.old.is_some();
        let mut meta = published.and_then(Published::meta).cloned().unwrap_or_default();
        meta.extend(roles::snapshot_meta(&listed));
        let meta = serde_json::Value::Object(meta);
        let (version, snapshot, is_new) = match online.still_true(&meta, expiry, there)? {
            Some(found) => found,
            None => {
                let version = published.map_or(0, |p| p.version("snapshot")) + 1;
                let signed = roles::snapshot(version, expiry.snapshot, meta);
                (version, online.sign("snapshot", &signed)?, true)
            }
        };
        let next = published.map_or(0, |p| p.version("timestamp")) + 1;
        let timestamp = roles::timestamp(next, expiry.timestamp, (version, &snapshot));
        let timestamp = online.sign("timestamp", &timestamp)?;
        if is_new {
            files.push((layout::metadata("snapshot", version), snapshot));
        }
        let mut after = None;
        match new_root {
            Some(root) if root_last => after = Some(root),
            root => files.extend(root),
        }
        let first_root = roots.first().cloned().unwrap_or_default();
        let before = published.map(Published::kept);
        Ok(Self { files, timestamp, after, first_root, before })
    }

    /// The files, by path in the repository and in the order in which they must be written. None of them counts
    /// for a client before `timestamp.json` does.
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }

    /// `timestamp.json`: to be renamed in last, after [`Publication::check`].
    pub fn timestamp(&self) -> &[u8] {
        &self.timestamp
    }

    /// A new root, with its path: to be renamed in after `timestamp.json`.
    pub fn after(&self) -> Option<&(String, Vec<u8>)> {
        self.after.as_ref()
    }

    /// Reads the repository, its files written and its timestamp (and the root after it) still held back, as a
    /// client that begins from the oldest root and as one that continues from the previous publication; each of
    /// them before and after a root that comes last.
    ///
    /// # Errors
    /// Either of them would refuse it, or a release in it.
    pub fn check(&self, written: &mut dyn Source, now: Timestamp) -> Result<(), AuthoringError> {
        let mut views = vec![None];
        views.extend(self.after.as_ref().map(Some));
        for root in views {
            let mut source = AsWillBe { written: &mut *written, timestamp: &self.timestamp, root };
            let fresh = Trust::from_root(&self.first_root);
            read_all("a fresh client", fresh, &mut source, now)?;
            if let Some(kept) = &self.before {
                let continuing = Trust::restore(&self.first_root, kept, now);
                read_all("a client of the previous publication", continuing, &mut source, now)?;
            }
        }
        Ok(())
    }
}

fn read_all(
    client: &'static str,
    trust: Result<Trust, TrustError>,
    source: &mut dyn Source,
    now: Timestamp,
) -> Result<(), AuthoringError> {
    let refuses = |source| AuthoringError::ClientRefuses { client, source };
    let mut trust = trust.map_err(refuses)?;
    trust.refresh(now, source).map_err(refuses)?;
    for product in trust.products() {
        let releases = trust.releases(&product, now, source).map_err(refuses)?;
        if let Some((path, source)) = releases.refused.into_iter().next() {
            return Err(AuthoringError::ReleaseRefused { path, source: Box::new(source) });
        }
    }
    Ok(())
}

/// The online key at work.
struct Online<'a, 's, 'p> {
    published: Option<&'a Published>,
    root: &'a SignedFile,
    /// The published root, where what is signed must count under it too.
    old: Option<&'a SignedFile>,
    roots: &'a [Vec<u8>],
    signer: &'a mut (dyn OnlineSigner + 's),
    previous: Option<&'a mut (dyn OnlineSigner + 'p)>,
}

impl Online<'_, '_, '_> {
    /// Whether the new root leaves the online key as it is.
    fn same_keys(&self, published: &Published) -> Result<bool, AuthoringError> {
        let mut same = true;
        for role in ["snapshot", "timestamp"] {
            let old = published.authority(role).map_err(AuthoringError::Published)?;
            same &= old.keys() == self.authority(role)?.keys();
        }
        Ok(same)
    }

    /// A snapshot that says exactly this, signed and good for long enough: the published one, or the one that an
    /// interrupted run has left.
    fn still_true(
        &self,
        meta: &serde_json::Value,
        expiry: Expiry,
        there: &mut dyn Source,
    ) -> Result<Option<(u64, Vec<u8>, bool)>, AuthoringError> {
        let authorities = self.authorities("snapshot")?;
        let good = |bytes: &[u8], version: u64| {
            SignedFile::parse("snapshot", bytes).is_ok_and(|file| {
                file.signed().get("meta") == Some(meta)
                    && file.version() == version
                    && file.expires() > expiry.renew
                    && authorities.iter().all(|authority| authority.count(&file).is_ok())
            })
        };
        let version = self.published.map_or(0, |p| p.version("snapshot"));
        if let Some(bytes) = self.published.and_then(|p| p.bytes("snapshot"))
            && good(bytes, version)
        {
            return Ok(Some((version, bytes.clone(), false)));
        }
        let path = layout::metadata("snapshot", version + 1);
        let left = there.fetch(&path, limit::METADATA).map_err(|error| {
            let (retry, source) = (error.retry(), error.into_cause());
            AuthoringError::Published(TrustError::Unreachable { path, retry, source })
        })?;
        Ok(left.filter(|b| good(b, version + 1)).map(|bytes| (version + 1, bytes, true)))
    }

    fn sign(&mut self, role: &str, signed: &serde_json::Value) -> Result<Vec<u8>, AuthoringError> {
        let authorities = self.authorities(role)?;
        let payload = roles::payload(role, signed)?;
        let request = |roots: &[Vec<u8>]| SigningRequest {
            format: FORMAT,
            subject: RequestSubject::Role {
                role: role.to_owned(),
                payload: Bytes(payload.clone()),
                roots: roots.iter().cloned().map(Bytes).collect(),
                last: self.published.and_then(|p| p.bytes(role)).cloned().map(Bytes),
                delegator: None,
                targets: None,
                published: None,
                trusted_root: None,
            },
        };
        let mut signatures = vec![ask(&mut *self.signer, role, &request(self.roots), &payload)?];
        if let (Some(previous), Some(published)) = (&mut self.previous, self.published)
            && self.old.is_some()
        {
            let request = request(published.root_files());
            signatures.push(ask(&mut **previous, role, &request, &payload)?);
        }
        for answer in &signatures {
            if !authorities.iter().any(|a| a.keys().contains(&answer.key)) {
                let (role, key) = (role.to_owned(), answer.key.id());
                return Err(AuthoringError::WrongSigner { role, key });
            }
        }
        let pairs = signatures.iter().map(|s| (&s.key, s.signature.as_slice()));
        let bytes = roles::file(&payload, pairs);
        let file = SignedFile::parse(role, &bytes).map_err(AuthoringError::Published)?;
        for authority in &authorities {
            authority.count(&file).map_err(AuthoringError::Published)?;
        }
        Ok(bytes)
    }

    fn authority(&self, role: &str) -> Result<Authority, AuthoringError> {
        Authority::of_root(self.root, role).map_err(AuthoringError::Published)
    }

    /// By the new root and, where it comes last, by the old one.
    fn authorities(&self, role: &str) -> Result<Vec<Authority>, AuthoringError> {
        [Some(self.root), self.old]
            .into_iter()
            .flatten()
            .map(|root| Authority::of_root(root, role).map_err(AuthoringError::Published))
            .collect()
    }
}

fn ask(
    signer: &mut dyn OnlineSigner,
    role: &str,
    request: &SigningRequest,
    payload: &[u8],
) -> Result<Signature, AuthoringError> {
    let failed = |source| AuthoringError::Signer { role: role.to_owned(), source };
    let answer = signer.sign(request).map_err(failed)?;
    Ok(answer.verify(payload).map_err(|e| failed(e.into()))?.get().clone())
}

/// The repository as it will be after the renames.
struct AsWillBe<'a> {
    written: &'a mut dyn Source,
    timestamp: &'a [u8],
    root: Option<&'a (String, Vec<u8>)>,
}

impl Source for AsWillBe<'_> {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        if path == layout::TIMESTAMP {
            return Ok(Some(self.timestamp.to_vec()));
        }
        match self.root {
            Some((root, bytes)) if root == path => Ok(Some(bytes.clone())),
            _ => self.written.fetch(path, max_bytes),
        }
    }
}

fn chain(
    published: Option<&Published>,
    signed: &[SignedRole],
) -> Result<Vec<Vec<u8>>, AuthoringError> {
    let mut roots = published.map(|p| p.root_files().to_vec()).unwrap_or_default();
    for new in signed.iter().filter(|s| s.role == "root") {
        if new.version != roots.len() as u64 + 1 {
            return Err(plan("the new root is not the next version"));
        }
        roots.push(new.bytes.clone());
    }
    Ok(roots)
}

fn plan(text: &str) -> AuthoringError {
    AuthoringError::Plan(text.to_owned())
}
