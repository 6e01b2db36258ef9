//! A draft: the roles to be signed, frozen. Everything in it is derived from its signing requests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::published::Published;
use super::{AuthoringError, Plan, roles};
use crate::release::{Blob, Release};
use crate::request::{Bytes, FORMAT, Renewal, RequestSubject, SigningRequest};
use crate::trust::{Authority, Bins, SignedFile, Signer, TrustError, index_of, names, product_of};
use crate::{Delta, PublicKey, Sha256, delta};

/// One role of a draft.
#[derive(Clone, Debug)]
pub struct Part {
    /// The request that asks for it, by its place among the draft's.
    asked_by: usize,
    request: Asked,
    digest: Sha256,
    file: SignedFile,
    authorities: Vec<Authority>,
    names: BTreeMap<PublicKey, Signer>,
    releases: Vec<Release>,
}

/// How a role is asked for.
#[derive(Clone, Debug)]
enum Asked {
    Alone(Box<SigningRequest>),
    /// With many others; its own request is made when it is wanted.
    Renewed(Arc<Renewal>, usize),
}

/// The roles to be signed together.
#[derive(Clone, Debug)]
pub struct Draft {
    parts: Vec<Part>,
    requests: Vec<SigningRequest>,
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
        Self::init_with_bins(plan, None)
    }

    /// As [`Draft::init`]; with bins, every product keeps its releases in so many.
    ///
    /// # Errors
    /// The plan makes no sense.
    pub fn init_with_bins(plan: &Plan, bins: Option<Bins>) -> Result<Self, AuthoringError> {
        plan.check()?;
        let unsigned = |role: &str, signed: &Value| -> Result<Bytes, AuthoringError> {
            Ok(Bytes(roles::file(&roles::payload(role, signed)?, [])))
        };
        let request = |role: &str, signed: &Value, delegator: Option<&Bytes>| {
            let payload = Bytes(roles::payload(role, signed)?);
            let subject = RequestSubject::Role {
                role: role.to_owned(),
                payload,
                roots: Vec::new(),
                last: None,
                delegator: delegator.cloned(),
                targets: None,
                published: None,
                trusted_root: None,
            };
            Ok::<_, AuthoringError>(SigningRequest { format: FORMAT, subject })
        };
        let targets = roles::targets(plan, 1);
        let drafted = unsigned("targets", &targets)?;
        let empty = roles::product(1, plan.expires, Map::new());
        let mut requests = vec![
            request("root", &roles::root(plan, 1), None)?,
            request("targets", &targets, None)?,
        ];
        for product in &plan.products {
            let role = product.as_str();
            let Some(bins) = bins else {
                requests.push(request(role, &empty, Some(&drafted))?);
                continue;
            };
            let above = roles::with_bins(plan, product, bins);
            requests.push(request(role, &above, Some(&drafted))?);
            let above = unsigned(role, &above)?;
            requests.push(request(&index_of(product), &roles::index(plan.expires), Some(&above))?);
        }
        Self::from_requests(requests, None)
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
        for (asked_by, request) in requests.iter().enumerate() {
            let RequestSubject::Renewal(renewal) = &request.subject else {
                parts.push(Part::new(asked_by, request, None, published)?);
                continue;
            };
            let shared = Arc::new((**renewal).clone());
            for (number, renewed) in renewal.files.iter().enumerate() {
                let role = renewed.role.clone();
                let wrong = |source| AuthoringError::Request { role, source };
                let request = renewal.request(renewed).map_err(wrong)?;
                let asked = Asked::Renewed(Arc::clone(&shared), number);
                parts.push(Part::new(asked_by, &request, Some(asked), published)?);
            }
        }
        let mut draft = Self { parts, requests };
        draft.authorise(published)?;
        Ok(draft)
    }

    /// Who may sign what: by what is published; where the role above is in the same draft, by both (for a root by
    /// TUF 5.3.4).
    fn authorise(&mut self, published: Option<&Published>) -> Result<(), AuthoringError> {
        let drafted =
            |role: &str| self.parts.iter().find(|p| p.role() == role).map(|p| p.file.clone());
        let (root, targets) = (drafted("root"), drafted("targets"));
        let products: BTreeMap<_, _> =
            self.parts.iter().map(|p| (p.role().to_owned(), p.file.clone())).collect();
        let published_file = |role: &str| published.and_then(|p| p.file(role));
        let known = ["root", "targets"].into_iter().filter_map(published_file);
        let names = names([&root, &targets].into_iter().flatten().chain(known));
        for part in &mut self.parts {
            let role = part.file.role();
            let product = product_of(role).map(|p| p.to_string());
            let above = match role {
                "root" | "targets" | "snapshot" | "timestamp" => root.as_ref(),
                _ => match product {
                    Some(product) => products.get(&product),
                    None => targets.as_ref(),
                },
            };
            let by_draft = above.map(|above| match role {
                "root" | "targets" | "snapshot" | "timestamp" => Authority::of_root(above, role),
                _ => Authority::of_delegation(above, role),
            });
            // Whoever could sign the version before signs this one too: a client that has not seen the new root
            // yet follows as well, so that there is no moment at which some client is shut out.
            // Only what is below a drafted product is for the new circle alone: whoever reads the new snapshot reads
            // the product's new role first, and that one both circles have signed.
            let alone = product_of(role).is_some();
            let by_published = published
                .filter(|p| above.is_none() || (p.file(role).is_some() && !alone))
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

    /// The files that travel to keyholders: one a role, or one for many roles.
    pub fn requests(&self) -> &[SigningRequest] {
        &self.requests
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
    /// `asked`: how, where it is not by this very request alone.
    fn new(
        asked_by: usize,
        request: &SigningRequest,
        asked: Option<Asked>,
        published: Option<&Published>,
    ) -> Result<Self, AuthoringError> {
        let role = match &request.subject {
            RequestSubject::Role { role, .. } => role.clone(),
            _ => "a statement".to_owned(),
        };
        let wrong = |source| AuthoringError::Request { role: role.clone(), source };
        let RequestSubject::Role { payload, .. } = &request.subject else {
            return Err(wrong(TrustError::malformed(&role, "a draft signs roles alone")));
        };
        let file = SignedFile::parse(&role, &roles::file(&payload.0, [])).map_err(wrong)?;
        if file.message() != payload.0 {
            return Err(wrong(TrustError::malformed(&role, "its bytes are not canonical")));
        }
        Ok(Self {
            asked_by,
            request: asked.unwrap_or_else(|| Asked::Alone(Box::new(request.clone()))),
            digest: Sha256::of(file.message()),
            releases: new_releases(&file, published.and_then(|p| p.file(&role))),
            file,
            authorities: Vec::new(),
            names: BTreeMap::new(),
        })
    }

    /// The role.
    pub fn role(&self) -> &str {
        self.file.role()
    }

    /// The role, taken apart.
    pub(super) fn file(&self) -> &SignedFile {
        &self.file
    }

    /// The version to be signed.
    pub fn version(&self) -> u64 {
        self.file.version()
    }

    /// When that version expires.
    pub fn expires(&self) -> Timestamp {
        self.file.expires()
    }

    /// The request for this role alone.
    pub fn request(&self) -> Cow<'_, SigningRequest> {
        match &self.request {
            Asked::Alone(request) => Cow::Borrowed(request),
            Asked::Renewed(renewal, number) => {
                let made = renewal.files.get(*number).and_then(|f| renewal.request(f).ok());
                // It was made once already, when the draft was read.
                let subject = RequestSubject::Renewal(Box::new((**renewal).clone()));
                Cow::Owned(made.unwrap_or(SigningRequest { format: FORMAT, subject }))
            }
        }
    }

    /// Which of [`Draft::requests`] asks for it.
    pub fn asked_by(&self) -> usize {
        self.asked_by
    }

    /// SHA-256 of the exact bytes to be signed.
    pub fn digest(&self) -> &Sha256 {
        &self.digest
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

    /// The deltas to the releases that this version adds.
    pub fn deltas(&self) -> Vec<Delta> {
        let custom = |path: &str| self.file.signed().get("targets")?.get(path)?.get("custom");
        let paths = self.releases.iter().map(Release::target_path);
        paths.flat_map(|path| delta::from_custom(custom(&path))).collect()
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
    targets: Option<Vec<u8>>,
) -> Result<SigningRequest, AuthoringError> {
    let subject = RequestSubject::Role {
        role: role.to_owned(),
        payload: Bytes(roles::payload(role, next)?),
        roots: published.chain(),
        last: published.bytes(role).cloned().map(Bytes),
        delegator: delegator.map(Bytes),
        targets: targets.map(Bytes),
        published: None,
        trusted_root: None,
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
