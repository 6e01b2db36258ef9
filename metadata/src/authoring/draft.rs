//! A draft: the roles to be signed, frozen. Everything in it is derived from its signing requests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::published::Published;
use super::{AuthoringError, Plan, roles};
use crate::PublicKey;
use crate::release::{Blob, Release};
use crate::request::{Bytes, FORMAT, RequestSubject, SigningRequest};
use crate::trust::{Authority, SignedFile, Signer, TrustError, names};

/// One role of a draft.
#[derive(Clone, Debug)]
pub struct Part {
    request: SigningRequest,
    file: SignedFile,
    authorities: Vec<Authority>,
    names: BTreeMap<PublicKey, Signer>,
    releases: Vec<Release>,
}

/// The roles to be signed together.
#[derive(Clone, Debug)]
pub struct Draft {
    parts: Vec<Part>,
}

/// Where a draft stands beside what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftState {
    /// It can be signed and published.
    Open,
    /// It is published.
    Published,
    /// Another draft was published in its place: it must be made anew.
    Superseded {
        /// The role in question.
        role: String,
        /// The version that this draft holds.
        drafted: u64,
        /// The version that is published.
        published: u64,
    },
}

impl Draft {
    /// The first versions of root, targets, and every product's role.
    ///
    /// # Errors
    /// The plan makes no sense.
    pub fn init(plan: &Plan) -> Result<Self, AuthoringError> {
        plan.check()?;
        let request = |role: &str, signed: &Value, delegator| {
            let payload = Bytes(roles::payload(role, signed)?);
            let role = role.to_owned();
            let subject = RequestSubject::Role {
                role,
                payload,
                roots: Vec::new(),
                last: None,
                delegator,
                last_delegator: None,
            };
            Ok::<_, AuthoringError>(SigningRequest { format: FORMAT, subject })
        };
        let targets = roles::targets(plan, 1);
        let drafted = roles::file(&roles::payload("targets", &targets)?, []);
        let empty = roles::product(1, plan.expires, Map::new());
        let mut requests = vec![
            request("root", &roles::root(plan, 1), None)?,
            request("targets", &targets, None)?,
        ];
        for product in &plan.products {
            requests.push(request(product.as_str(), &empty, Some(Bytes(drafted.clone())))?);
        }
        Self::from_requests(requests, None)
    }

    /// The next version of a product's role, with one release more. `served`: the `.tar.zst`.
    ///
    /// # Errors
    /// The release makes no sense, is there already, or its product is not in the repository.
    pub fn release(
        published: &Published,
        release: &Release,
        served: Blob,
        expires: Timestamp,
    ) -> Result<Self, AuthoringError> {
        let role = release.product.as_str();
        let unknown = || AuthoringError::UnknownProduct(release.product.clone());
        let last = published.file(role).ok_or_else(unknown)?;
        let path = release.target_path();
        let unwritable = |e: serde_json::Error| AuthoringError::Unwritable {
            role: role.to_owned(),
            reason: e.to_string(),
        };
        let custom = release.to_custom().map_err(unwritable)?;
        // What clients will do with it, done before anybody is asked to sign.
        Release::from_custom(&path, Some(&custom))?;

        if published.revoked(&release.product).contains(&release.version) {
            return Err(AuthoringError::Revoked { version: release.version.clone() });
        }
        let entries = last.signed().get("targets").and_then(Value::as_object);
        let mut entries = entries.cloned().unwrap_or_default();
        let hashes = json!({ "sha256": served.sha256 });
        let entry = json!({ "length": served.length, "hashes": hashes, "custom": custom });
        if entries.insert(path.clone(), entry).is_some() {
            return Err(AuthoringError::AlreadyReleased { path });
        }
        let next = roles::next(last, expires, [("targets", Value::Object(entries))]);
        let delegator = published.bytes("targets").cloned();
        let request = next_version(published, role, &next, delegator, None)?;
        Self::from_requests(vec![request], Some(published))
    }

    /// A draft from its requests, as they lie on disk.
    ///
    /// # Errors
    /// A request is malformed, or nobody is authorised to sign its role.
    pub fn from_requests(
        requests: Vec<SigningRequest>,
        published: Option<&Published>,
    ) -> Result<Self, AuthoringError> {
        let mut parts = Vec::new();
        for request in requests {
            let role = match &request.subject {
                RequestSubject::Role { role, .. } => role.clone(),
                RequestSubject::Statement { .. } => "a statement".to_owned(),
            };
            let wrong = |source| AuthoringError::Request { role: role.clone(), source };
            let RequestSubject::Role { payload, .. } = &request.subject else {
                return Err(wrong(TrustError::malformed(&role, "a draft signs roles alone")));
            };
            let file = SignedFile::parse(&role, &roles::file(&payload.0, [])).map_err(wrong)?;
            if file.message() != payload.0 {
                return Err(wrong(TrustError::malformed(&role, "its bytes are not canonical")));
            }
            parts.push(Part {
                releases: new_releases(&file, published.and_then(|p| p.file(&role))),
                request,
                file,
                authorities: Vec::new(),
                names: BTreeMap::new(),
            });
        }
        let mut draft = Self { parts };
        draft.authorise(published)?;
        Ok(draft)
    }

    /// Who may sign what: by what is published; where the role above is in the same draft, by both (for a root by
    /// TUF 5.3.4).
    fn authorise(&mut self, published: Option<&Published>) -> Result<(), AuthoringError> {
        let drafted =
            |role: &str| self.parts.iter().find(|p| p.role() == role).map(|p| p.file.clone());
        let (root, targets) = (drafted("root"), drafted("targets"));
        let published_file = |role: &str| published.and_then(|p| p.file(role));
        let known = ["root", "targets"].into_iter().filter_map(published_file);
        let names = names([&root, &targets].into_iter().flatten().chain(known));
        for part in &mut self.parts {
            let role = part.file.role();
            let above = match role {
                "root" | "targets" | "snapshot" | "timestamp" => root.as_ref(),
                _ => targets.as_ref(),
            };
            let by_draft = above.map(|above| match role {
                "root" | "targets" | "snapshot" | "timestamp" => Authority::of_root(above, role),
                _ => Authority::of_delegation(above, role),
            });
            // Whoever could sign the version before signs this one too: a client that has not seen the new root
            // yet follows as well, so that there is no moment at which some client is shut out.
            let by_published = published
                .filter(|p| above.is_none() || p.file(role).is_some())
                .map(|published| published.authority(role));
            let authorities: Result<Vec<_>, _> =
                [by_draft, by_published].into_iter().flatten().collect();
            let wrong = |source| AuthoringError::Request { role: role.to_owned(), source };
            let authorities = authorities.map_err(wrong)?;
            if authorities.is_empty() {
                return Err(wrong(TrustError::UnknownRole { role: role.to_owned() }));
            }
            part.names = names.clone();
            part.authorities = authorities;
        }
        Ok(())
    }

    /// Its roles.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where it stands beside what is published.
    pub fn state(&self, published: Option<&Published>) -> DraftState {
        let Some(published) = published else { return DraftState::Open };
        let same = |part: &Part| {
            published.file(part.role()).is_some_and(|f| f.message() == part.file.message())
        };
        let past = |part: &&Part| published.version(part.role()) >= part.version();
        match self.parts.iter().filter(past).find(|part| !same(part)) {
            Some(part) => DraftState::Superseded {
                role: part.role().to_owned(),
                drafted: part.version(),
                published: published.version(part.role()),
            },
            None if self.parts.iter().all(same) => DraftState::Published,
            None => DraftState::Open,
        }
    }
}

impl Part {
    /// The role.
    pub fn role(&self) -> &str {
        self.file.role()
    }

    /// The version to be signed.
    pub fn version(&self) -> u64 {
        self.file.version()
    }

    /// When that version expires.
    pub fn expires(&self) -> Timestamp {
        self.file.expires()
    }

    /// What travels to keyholders.
    pub fn request(&self) -> &SigningRequest {
        &self.request
    }

    /// The exact bytes to be signed.
    pub fn message(&self) -> &[u8] {
        self.file.message()
    }

    /// The releases that this version adds.
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// The files, as served, of the releases that this version adds, by target path.
    pub fn served(&self) -> Vec<(String, Blob)> {
        let entry = |path: &str| self.file.signed().get("targets")?.get(path).cloned();
        let blob = |entry: Value| {
            let sha256 = entry.pointer("/hashes/sha256")?.as_str()?.parse().ok()?;
            Some(Blob { sha256, length: entry.get("length")?.as_u64()? })
        };
        let paths = self.releases.iter().map(Release::target_path);
        paths.filter_map(|path| Some((blob(entry(&path)?)?, path))).map(|(b, p)| (p, b)).collect()
    }

    /// Whose signatures count: the drafted circle first, where the draft has one, then the published one.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// What people call a key.
    pub fn name(&self, key: &PublicKey) -> Signer {
        self.names.get(key).cloned().unwrap_or_else(|| Signer::unnamed(*key))
    }
}

/// A request for the next version of a published role.
pub(super) fn next_version(
    published: &Published,
    role: &str,
    next: &Value,
    delegator: Option<Vec<u8>>,
    last_delegator: Option<Vec<u8>>,
) -> Result<SigningRequest, AuthoringError> {
    let subject = RequestSubject::Role {
        role: role.to_owned(),
        payload: Bytes(roles::payload(role, next)?),
        roots: published.chain(),
        last: published.bytes(role).cloned().map(Bytes),
        delegator: delegator.map(Bytes),
        last_delegator: last_delegator.map(Bytes),
    };
    Ok(SigningRequest { format: FORMAT, subject })
}

fn new_releases(file: &SignedFile, last: Option<&SignedFile>) -> Vec<Release> {
    let targets =
        |file: &SignedFile| file.signed().get("targets").and_then(Value::as_object).cloned();
    let old = last.and_then(targets).unwrap_or_default();
    targets(file)
        .unwrap_or_default()
        .iter()
        .filter(|(path, entry)| old.get(*path) != Some(entry))
        .filter_map(|(path, entry)| Release::from_custom(path, entry.get("custom")).ok())
        .collect()
}
