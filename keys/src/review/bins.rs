//! Bins below a product, which hold its releases, and its index: reviewed from the delegation that the product's own
//! role gives them, which the request carries; in a rotation from the drafted one, beside the one that is published.

use std::collections::{BTreeMap, BTreeSet};

use countersign_metadata::trust::{Bins, Index, index_of};
use countersign_metadata::{KeyId, Product, PublicKey};
use serde::Deserialize;

use super::Reviewed;
use super::case::{Case, added, reviewed};
use super::change::{self, Change};
use super::file::TufFile;
use super::last::{Last, follows};
use super::role::{Delegator, RoleReview, Signers};
use super::roles::{Holders, RawHolders, Role, holders};
use super::targets::Targets;
use crate::Refused;

/// A product's index and bins, all held by the same keyholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Below {
    pub(super) bins: Bins,
    pub(super) holders: Holders,
}

/// One of them as it is delegated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBelow {
    name: String,
    keyids: Vec<KeyId>,
    threshold: usize,
    paths: Option<Vec<String>>,
    path_hash_prefixes: Option<Vec<String>>,
    terminating: bool,
}

impl Below {
    /// Exactly the index and the bins that this house makes, in their order; anything else is not explained.
    pub(super) fn of(
        what: &str,
        product: &str,
        keys: &BTreeMap<KeyId, PublicKey>,
        roles: Vec<RawBelow>,
    ) -> Result<Option<Self>, Refused> {
        if roles.is_empty() {
            return Ok(None);
        }
        let unexplained = || Refused::Unexplained {
            what: what.to_owned(),
            field: "delegations of its own that are not an index and its bins".to_owned(),
        };
        let product: Product = product.parse().map_err(|_| unexplained())?;
        let bins = u32::try_from(roles.len() - 1).ok().and_then(|n| Bins::try_from(n).ok());
        let bins = bins.ok_or_else(unexplained)?;
        let mut all: Option<Holders> = None;
        for (role, number) in roles.into_iter().zip([None].into_iter().chain((0..).map(Some))) {
            let (name, prefixes) = match number {
                None => (index_of(&product), None),
                Some(number) => (bins.name(&product, number), Some(bins.prefixes(number))),
            };
            let no_paths = role.paths.is_none_or(|paths| paths.is_empty());
            if role.name != name || role.path_hash_prefixes != prefixes || !no_paths {
                return Err(unexplained());
            }
            let RawBelow { keyids, threshold, terminating, .. } = role;
            let found = holders(what, &name, keys, RawHolders { keyids, threshold })?;
            if !terminating || all.as_ref().is_some_and(|all| *all != found) {
                return Err(unexplained());
            }
            all = Some(found);
        }
        Ok(all.map(|holders| Self { bins, holders }))
    }
}

impl Case<'_> {
    /// A bin or an index. Its delegation is signed by the product's keyholders, who are proven by the published
    /// targets; only before the first publication may it be a draft.
    pub(super) fn below(&self, product: &Product) -> Result<Reviewed, Refused> {
        let role = self.asked.role;
        let not_delegated = || Refused::NotDelegated(role.to_owned());
        let new = Targets::of(self.file)?;
        let delegator = self.asked.delegator.ok_or_else(not_delegated)?;
        let what = format!("the role of {product} in the request");
        let delegator = TufFile::published(&what, product.as_str(), delegator)?;
        let mut labels = self.chain.newest().labels.clone();
        let above = Targets::of(&delegator)?;
        let mut published = None;
        let signed = match (self.asked.targets, self.asked.last) {
            (Some(bytes), _) => {
                let targets = TufFile::published("the published targets", "targets", bytes)?;
                targets.verify(&self.chain.authority("targets")?)?;
                let by = targets.delegates(product.as_str())?;
                labels.extend(Targets::of(&targets)?.labels);
                if let Some(bytes) = self.asked.published {
                    // The drafted role proves nothing: it only names who is asked. The published one proves what
                    // was last.
                    let what = format!("the published role of {product}");
                    let file = TufFile::published(&what, product.as_str(), bytes)?;
                    file.verify(&by)?;
                    let version = Targets::of(&file)?.head.version;
                    follows(product.as_str(), &above.head, Some(version))?;
                    published = Some(file);
                } else {
                    delegator.verify(&by)?;
                }
                published.is_none()
            }
            (None, None) => false,
            (None, Some(_)) => return Err(not_delegated()),
        };
        let Below { bins, holders } = above.below.ok_or_else(not_delegated)?;
        let is_index = role == index_of(product);
        let is_bin = (0..bins.count()).any(|number| role == bins.name(product, number));
        let fits = match (is_index, is_bin) {
            (true, _) => new.releases.is_empty(),
            (_, true) => {
                let mine = |path: &String| bins.of(product, path) == role;
                let only_releases =
                    new.index.is_empty() && new.revoked.is_empty() && new.rollouts.is_empty();
                only_releases && new.releases.keys().all(mine)
            }
            _ => return Err(not_delegated()),
        };
        let foreign = new.releases.values().any(|t| t.release.product != *product);
        if !fits || foreign || new.below.is_some() {
            let field = "what does not belong into this bin or index".to_owned();
            return Err(Refused::Unexplained { what: self.file.what().to_owned(), field });
        }
        let last = match self.asked.last {
            None => Last::None,
            Some(bytes) => {
                let file = TufFile::published(&format!("the last {role}"), role, bytes)?;
                file.verify(&published.as_ref().unwrap_or(&delegator).delegates(role)?)?;
                Last::Verified(Targets::of(&file)?)
            }
        };
        follows(role, &new.head, last.version())?;
        let (none, never, empty) = (BTreeMap::new(), BTreeSet::new(), Index::new());
        let old = last.verified();
        let mut changes = change::releases(old.map_or(&none, |o| &o.releases), &new.releases);
        let releases = changes.iter().filter_map(added).cloned().collect();
        let revoked = old.map_or(&never, |o| &o.revoked);
        changes.extend(change::revocations(product, revoked, &new.revoked));
        changes.extend(change::rollouts(product, old.map(|o| &o.rollouts), &new.rollouts));
        changes.extend(listings(role, old.map_or(&empty, |o| &o.index), &new.index));
        let review = RoleReview {
            delegator: Some(Delegator {
                role: product.to_string(),
                version: above.head.version,
                signed,
            }),
            signers: vec![Signers::new(role.to_owned(), &holders, &labels)],
            ..self.explained(&new, &last, changes, new.other.clone())
        };
        Ok(Reviewed { releases, ..reviewed(self.file, holders.set(), review) })
    }
}

/// What an index lists from now on, and no longer.
fn listings(role: &str, before: &Index, after: &Index) -> Vec<Change> {
    let all = |index: &Index| -> BTreeSet<_> {
        let flat = index
            .iter()
            .flat_map(|(platform, list)| list.iter().map(|one| (platform.clone(), one.clone())));
        flat.collect()
    };
    let (before, after) = (all(before), all(after));
    let change = |(platform, one): &(_, countersign_metadata::trust::Indexed), now| {
        let role = role.to_owned();
        let (version, follows) = (one.version.clone(), one.follows.clone());
        Change::Listed { role, platform: Clone::clone(platform), version, follows, now }
    };
    let new = after.difference(&before).map(|one| change(one, true));
    new.chain(before.difference(&after).map(|one| change(one, false))).collect()
}
