//! Rotation: other keyholders, another threshold, another online key, or only a later expiry.
//!
//! A new root is signed by the old and by the new circle. Everything that the keyholders sign is signed anew in
//! the same draft, also by both circles: so every client can follow at every moment of the publication, the one
//! that has seen the new root already and the one that has not.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::draft::next_version;
use super::published::Published;
use super::{AuthoringError, Draft, Holder, Plan, roles};
use crate::request::{Bytes, FORMAT, Renewal, Renewed, RequestSubject, SigningRequest};
use crate::trust::{Authority, Bins, SignedFile, index_of, names};
use crate::{Product, PublicKey};

/// What is to change.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Keyholders who join.
    pub add: Vec<Holder>,
    /// Keyholders who leave, each by label or by key.
    pub remove: Vec<String>,
    /// How many keyholders must sign from then on; as before if absent.
    pub threshold: Option<usize>,
    /// The key that signs snapshot and timestamp from then on; as before if absent.
    pub online: Option<Holder>,
    /// Products that join.
    pub products: Vec<Product>,
    /// Into how many hash bins the products that join put their releases; none if absent.
    pub bins: Option<Bins>,
    /// Draft everything anew, also what would stay the same, so that it expires later.
    pub renew: bool,
    /// When the new versions expire.
    pub expires: Timestamp,
}

impl Published {
    /// Who holds this repository's keys now, as a plan that would make it again.
    ///
    /// # Errors
    /// It is not one circle of keyholders and one online key.
    pub fn plan(&self) -> Result<Plan, AuthoringError> {
        let (root, targets) = (self.trust().root(), self.file("targets"));
        let names = names([root].into_iter().chain(targets));
        let authority = |role: &str| self.authority(role).map_err(AuthoringError::Published);
        let circle = authority("root")?;
        let same = |role: &str| -> Result<(), AuthoringError> {
            let other = authority(role)?;
            if other.keys() == circle.keys() && other.threshold() == circle.threshold() {
                return Ok(());
            }
            Err(AuthoringError::NoCircle { role: role.to_owned() })
        };
        same("targets")?;
        for product in self.products() {
            same(product.as_str())?;
        }
        let holder = |key: &PublicKey| {
            let named = names.get(key);
            let label = named.map(|s| s.label().to_owned()).unwrap_or_default();
            let label = if label.is_empty() { key.id().short() } else { label };
            Holder { label, key: named.map_or(*key, |s| *s.key()) }
        };
        let (snapshot, timestamp) = (authority("snapshot")?, authority("timestamp")?);
        let no_circle = || AuthoringError::NoCircle { role: "timestamp".to_owned() };
        let [online] = timestamp.keys().into_iter().collect::<Vec<_>>()[..] else {
            return Err(no_circle());
        };
        if snapshot.keys() != timestamp.keys() {
            return Err(no_circle());
        }
        Ok(Plan {
            products: self.products(),
            keyholders: circle.keys().iter().map(holder).collect(),
            threshold: circle.threshold(),
            online: holder(&online),
            expires: root.expires(),
        })
    }
}

impl Draft {
    /// The next versions of root and, where its keyholders or products change, of everything that they sign.
    ///
    /// A product with bins is said again whole, its bins in [`Renewal`]s.
    ///
    /// # Errors
    /// Nothing would change, what would come out makes no sense, or the bins of a product were not loaded
    /// ([`Published::load_bins`]).
    pub fn rotate(published: &Published, rotation: &Rotation) -> Result<Self, AuthoringError> {
        let old = published.plan()?;
        let plan = changed(&old, rotation)?;
        plan.check()?;
        let circle = |plan: &Plan| plan.keyholders.iter().map(|h| h.key).collect::<BTreeSet<_>>();
        let labels = |plan: &Plan| {
            let all = plan.keyholders.iter().chain([&plan.online]);
            all.map(|h| (h.key, h.label.clone())).collect::<BTreeSet<_>>()
        };
        let held =
            circle(&old) != circle(&plan) || old.threshold != plan.threshold || rotation.renew;
        let with_root = held || labels(&old) != labels(&plan);
        let with_targets = held || !rotation.products.is_empty();
        if !with_root && !with_targets {
            return Err(AuthoringError::NoChange);
        }

        let mut requests = Vec::new();
        let drafted = |role: &str, signed: &Value| -> Result<Vec<u8>, AuthoringError> {
            Ok(roles::file(&roles::payload(role, signed)?, []))
        };
        let root = roles::root(&plan, published.version("root") + 1);
        let root = next(published, "root", rotation.expires, &root, &[])?;
        let above = with_root.then(|| drafted("root", &root)).transpose()?;
        if with_root {
            requests.push(next_version(published, "root", &root, None, None)?);
        }
        let mut delegator = published.bytes("targets").cloned();
        if with_targets {
            let targets = roles::targets(&plan, published.version("targets") + 1);
            let targets = next(published, "targets", rotation.expires, &targets, &["targets"])?;
            delegator = Some(drafted("targets", &targets)?);
            requests.push(next_version(published, "targets", &targets, above, None)?);
        }
        for product in &plan.products {
            let role = product.as_str();
            let last = published.file(role);
            if last.is_some() && !held {
                continue;
            }
            let bins = match last {
                Some(_) => published.bins(product)?,
                None => rotation.bins,
            };
            let with_bins = bins.map(|bins| roles::with_bins(&plan, product, bins));
            let signed = match (last, &with_bins) {
                (Some(last), None) => roles::next(last, rotation.expires, []),
                (Some(last), Some(written)) => {
                    let delegations = ("delegations", written["delegations"].clone());
                    roles::next(last, rotation.expires, [delegations])
                }
                (None, Some(written)) => written.clone(),
                (None, None) => roles::product(1, rotation.expires, serde_json::Map::new()),
            };
            let last_delegator = last.and_then(|_| published.bytes("targets").cloned());
            let delegator = delegator.clone();
            requests.push(next_version(published, role, &signed, delegator, last_delegator)?);
            if bins.is_none() {
                continue;
            }
            let above = drafted(role, &signed)?;
            if last.is_some() {
                requests.extend(renewals(published, product, &above, rotation.expires)?);
            } else {
                let index = roles::index(rotation.expires);
                requests.push(next_version(
                    published,
                    &index_of(product),
                    &index,
                    Some(above),
                    None,
                )?);
            }
        }
        Self::from_requests(requests, Some(published))
    }
}

/// Bytes of published roles in one part of a renewal: with base64 and chain well below what a request may be.
const PART: usize = 24 << 20;

/// The index and every bin of a product, said once more for the keyholders that `drafted` names.
fn renewals(
    published: &Published,
    product: &Product,
    drafted: &[u8],
    expires: Timestamp,
) -> Result<Vec<SigningRequest>, AuthoringError> {
    let bytes = |role: &str| {
        let not_loaded = || AuthoringError::NotLoaded { role: role.to_owned() };
        published.bytes(role).cloned().map(Bytes).ok_or_else(not_loaded)
    };
    let mut parts: Vec<Vec<Renewed>> = vec![Vec::new()];
    let mut length = 0;
    for role in [index_of(product)].into_iter().chain(published.bin_names(product)) {
        let last = bytes(&role)?;
        length += last.0.len();
        if length > PART {
            length = last.0.len();
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(Renewed { role, last });
        }
    }
    let (targets, above) = (bytes("targets")?, bytes(product.as_str())?);
    let renewal = |(part, files): (u32, Vec<Renewed>)| {
        let renewal = Renewal {
            product: product.clone(),
            part,
            expires: Timestamp::from_second(expires.as_second()).unwrap_or(expires),
            roots: published.chain(),
            targets: targets.clone(),
            published: above.clone(),
            drafted: Bytes(drafted.to_vec()),
            files,
        };
        let subject = RequestSubject::Renewal(Box::new(renewal));
        SigningRequest { format: FORMAT, subject }
    };
    Ok((1..).zip(parts).map(renewal).collect())
}

/// The new version of a top-level role: as written anew, with whatever else the last one says, and `kept` as it is.
fn next(
    published: &Published,
    role: &str,
    expires: Timestamp,
    written: &Value,
    kept: &[&str],
) -> Result<Value, AuthoringError> {
    let unknown = || AuthoringError::NoCircle { role: role.to_owned() };
    let last: &SignedFile = published.file(role).ok_or_else(unknown)?;
    let changed = written.as_object().into_iter().flatten();
    let changed = changed.filter(|(name, _)| !kept.contains(&name.as_str()));
    let changed = changed.filter(|(name, _)| name.as_str() != "expires");
    let next = roles::next(last, expires, changed.map(|(n, v)| (n.as_str(), v.clone())));
    // It must give the authority that it says before anybody is asked to sign.
    if role == "root" {
        let file = roles::file(&roles::payload(role, &next)?, []);
        let file = SignedFile::parse(role, &file).map_err(AuthoringError::Published)?;
        Authority::of_root(&file, role).map_err(AuthoringError::Published)?;
    }
    Ok(next)
}

fn changed(old: &Plan, rotation: &Rotation) -> Result<Plan, AuthoringError> {
    let no = |text: String| Err(AuthoringError::Plan(text));
    let mut plan = Plan { expires: rotation.expires, ..old.clone() };
    for who in &rotation.remove {
        let key = who.parse::<PublicKey>().ok();
        let before = plan.keyholders.len();
        plan.keyholders.retain(|h| h.label != *who && Some(h.key) != key);
        if plan.keyholders.len() == before {
            let labels: Vec<_> = plan.keyholders.iter().map(|h| h.label.as_str()).collect();
            return no(format!("{who:?} is no keyholder; there are: {}", labels.join(", ")));
        }
    }
    plan.keyholders.extend(rotation.add.iter().cloned());
    plan.threshold = rotation.threshold.unwrap_or(plan.threshold);
    if let Some(online) = &rotation.online {
        plan.online = online.clone();
    }
    for product in &rotation.products {
        if plan.products.contains(product) {
            return no(format!("the repository has the product {product} already"));
        }
        plan.products.push(product.clone());
    }
    Ok(plan)
}
