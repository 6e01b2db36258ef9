//! A product's role: its delegation proven, or drafted beside the published one, and its releases compared.

use std::collections::{BTreeMap, BTreeSet};

use countersign_metadata::Product;

use super::Reviewed;
use super::bins::Below;
use super::case::{Case, added, reviewed};
use super::change::{self, Change};
use super::file::TufFile;
use super::last::{Last, follows};
use super::role::{Delegator, RoleReview, Signers};
use super::roles::Role;
use super::targets::Targets;
use crate::Refused;

impl Case<'_> {
    pub(super) fn product(&self, product: &Product) -> Result<Reviewed, Refused> {
        let name = product.as_str();
        let new = Targets::of(self.file)?;
        if !new.index.is_empty() || (new.below.is_some() && !new.releases.is_empty()) {
            let field = "both bins and what belongs into them".to_owned();
            return Err(Refused::Unexplained { what: self.file.what().to_owned(), field });
        }
        if let Some(foreign) = new.releases.values().find(|t| t.release.product != *product) {
            let field = format!("a release of {}", foreign.release.product);
            return Err(Refused::Unexplained { what: self.file.what().to_owned(), field });
        }
        let delegator = self.asked.delegator;
        let delegator = delegator.ok_or_else(|| Refused::NotDelegated(name.to_owned()))?;
        let delegator =
            TufFile::published("the targets role in the request", "targets", delegator)?;
        let signed = delegator.verify(&self.chain.authority("targets")?);
        // A delegation may still be a draft where nothing is compared with it (a product's first version), or
        // where the published delegation comes along to prove what was last.
        let mut published = None;
        let signed = match (signed, self.asked.last, self.asked.targets) {
            (Ok(_), _, _) => true,
            (Err(_), None, _) => false,
            (Err(error), Some(_), None) => return Err(error),
            (Err(_), Some(_), Some(bytes)) => {
                let file = TufFile::published("the published targets", "targets", bytes)?;
                file.verify(&self.chain.authority("targets")?)?;
                published = Some(file);
                false
            }
        };
        let targets = Targets::of(&delegator)?;
        let delegation = targets.delegations.get(name);
        let delegation = delegation.ok_or_else(|| Refused::NotDelegated(name.to_owned()))?;
        if new.below.as_ref().is_some_and(|below| below.holders != delegation.holders) {
            let field = "bins with keyholders of their own".to_owned();
            return Err(Refused::Unexplained { what: self.file.what().to_owned(), field });
        }
        let last = match self.asked.last {
            None => Last::None,
            Some(bytes) => {
                let file = TufFile::published(&format!("the last {name}"), name, bytes)?;
                file.verify(&published.as_ref().unwrap_or(&delegator).delegates(name)?)?;
                Last::Verified(Targets::of(&file)?)
            }
        };
        follows(name, &new.head, last.version())?;
        let none = BTreeMap::new();
        let old = last.verified().map_or(&none, |old| &old.releases);
        let mut changes = change::releases(old, &new.releases);
        let never = BTreeSet::new();
        let revoked = last.verified().map_or(&never, |old| &old.revoked);
        changes.extend(change::revocations(product, revoked, &new.revoked));
        if new.below.is_some() && !new.rollouts.is_empty() {
            let field = "rollouts, which belong into the index".to_owned();
            return Err(Refused::Unexplained { what: self.file.what().to_owned(), field });
        }
        let rollouts = last.verified().map(|old| &old.rollouts);
        changes.extend(change::rollouts(product, rollouts, &new.rollouts));
        let bins = |below: &Option<Below>| below.as_ref().map(|b| b.bins.count());
        let (from, to) = (last.verified().and_then(|old| bins(&old.below)), bins(&new.below));
        if from != to {
            changes.push(Change::Bins { role: name.to_owned(), from, to });
        }
        if let (Some(old), Some(new)) =
            (last.verified().and_then(|old| old.below.as_ref()), new.below.as_ref())
        {
            let all = format!("{name}.*");
            let before = BTreeMap::from([(all.clone(), old.holders.clone())]);
            let old = published.as_ref().map(Targets::of).transpose()?;
            let old = old.map_or_else(|| targets.labels.clone(), |old| old.labels);
            changes.extend(change::holders(&before, [(&all, &new.holders)], &old, &targets.labels));
        }
        let releases = changes.iter().filter_map(added).cloned().collect();
        let mut signers = vec![Signers::new(name.to_owned(), &delegation.holders, &targets.labels)];
        let mut all = delegation.holders.set();
        if let Some(published) = published {
            let targets = Targets::of(&published)?;
            let before = targets.delegations.get(name);
            let before = before.ok_or_else(|| Refused::NotDelegated(name.to_owned()))?;
            all.extend(before.holders.set());
            let of = format!("{name}, by targets version {}", targets.head.version);
            signers.push(Signers::new(of, &before.holders, &targets.labels));
        }
        let review = RoleReview {
            delegator: Some(Delegator {
                role: "targets".to_owned(),
                version: targets.head.version,
                signed,
            }),
            signers,
            ..self.explained(&new, &last, changes, new.other.clone())
        };
        Ok(Reviewed { releases, ..reviewed(self.file, all, review) })
    }
}
