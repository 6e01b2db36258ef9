//! Judges a role request: each kind of role against the chain from the pinned root, and against its last version.

use std::collections::{BTreeMap, BTreeSet};

use countersign_metadata::request::Bytes;
use countersign_metadata::trust::product_of;
use countersign_metadata::{Product, PublicKey, Release, Sha256};
use serde_json::Value;

use super::chain::{Chain, role_of};
use super::change::{self, Change};
use super::file::TufFile;
use super::last::{Last, follows};
use super::role::{Before, RoleReview, Signers};
use super::roles::{Head, Listing, Role, Root};
use super::targets::{Delegation, Targets};
use super::{Review, Reviewed, instance};
use crate::Refused;
use crate::pin::PinnedRoot;

/// A role request, unverified.
pub(super) struct Asked<'a> {
    pub(super) role: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) roots: &'a [Bytes],
    pub(super) last: Option<&'a [u8]>,
    pub(super) delegator: Option<&'a [u8]>,
    pub(super) targets: Option<&'a [u8]>,
    pub(super) published: Option<&'a [u8]>,
    pub(super) trusted_root: Option<&'a [u8]>,
}

pub(super) fn review(asked: &Asked<'_>, pinned: Option<&PinnedRoot>) -> Result<Reviewed, Refused> {
    let what = format!("the {} to be signed", asked.role);
    let file = TufFile::payload(&what, asked.role, asked.payload)?;
    if asked.role == "root" && asked.roots.is_empty() {
        return first_root(asked, &file, pinned);
    }
    let pinned = pinned.ok_or_else(|| Refused::NoPinnedRoot(asked.role.to_owned()))?;
    let chain = Chain::walk(pinned, asked.roots)?;
    let case = Case { asked, file: &file, chain: &chain };
    match asked.role {
        "root" => case.root(),
        "targets" => case.targets(),
        "snapshot" | "timestamp" => case.listing(),
        role => {
            if let Some(product) = product_of(role) {
                return case.below(&product);
            }
            let product: Product = role
                .parse()
                .map_err(|e| Refused::malformed("the request", format!("its role: {e}")))?;
            case.product(&product)
        }
    }
}

/// The root that a keyholder is about to pin, as if it were to be signed.
pub(super) fn root_alone(pinned: &PinnedRoot) -> Result<Review, Refused> {
    let (file, root) = pinned.parts()?;
    Ok(Review::Role(Box::new(beginning(&file, &root)?)))
}

fn first_root(
    asked: &Asked<'_>,
    file: &TufFile,
    pinned: Option<&PinnedRoot>,
) -> Result<Reviewed, Refused> {
    if let Some(pinned) = pinned {
        let (known, root) = pinned.parts()?;
        if known.message() != file.message() {
            return Err(Refused::OtherFirstRoot(root.head.version));
        }
    }
    let root = Root::of(file)?;
    follows(asked.role, &root.head, None)?;
    let signers = role_of(&root, "root")?.set();
    Ok(Reviewed { first_root: true, ..reviewed(file, signers, beginning(file, &root)?) })
}

fn beginning(file: &TufFile, root: &Root) -> Result<RoleReview, Refused> {
    let none = BTreeMap::new();
    Ok(RoleReview {
        role: "root".to_owned(),
        version: root.head.version,
        expires: root.head.expires,
        message: Sha256::of(file.message()),
        before: Before::Nothing,
        delegator: None,
        signers: vec![Signers::new("root".to_owned(), role_of(root, "root")?, &root.labels)],
        changes: change::holders(&none, &root.roles, &BTreeMap::new(), &root.labels),
        other: root.other.clone(),
    })
}

pub(super) struct Case<'a> {
    pub(super) asked: &'a Asked<'a>,
    pub(super) file: &'a TufFile,
    pub(super) chain: &'a Chain,
}

impl Case<'_> {
    fn root(&self) -> Result<Reviewed, Refused> {
        let old = self.chain.newest();
        if let Some(last) = self.asked.last
            && TufFile::published("the last root", "root", last)?.message()
                != self.chain.newest_message()
        {
            return Err(Refused::OtherLast);
        }
        let new = Root::of(self.file)?;
        follows("root", &new.head, Some(old.head.version))?;
        let (before, after) = (role_of(old, "root")?, role_of(&new, "root")?);
        let mut changes = change::holders(&old.roles, &new.roles, &old.labels, &new.labels);
        changes.extend(change::labels(&old.labels, &new.labels));
        let last = Last::Verified(old.clone());
        let review = RoleReview {
            signers: vec![
                Signers::new(format!("root version {}", old.head.version), before, &old.labels),
                Signers::new(format!("root version {}", new.head.version), after, &new.labels),
            ],
            ..self.explained(&new, &last, changes, new.other.clone())
        };
        let signers = before.set().union(&after.set()).copied().collect();
        Ok(reviewed(self.file, signers, review))
    }

    fn targets(&self) -> Result<Reviewed, Refused> {
        let new = Targets::of(self.file)?;
        if let Some(path) = new.releases.keys().next() {
            let field = format!("the release {path:?} outside of its product's role");
            return Err(Refused::Unexplained { what: self.file.what().to_owned(), field });
        }
        if !new.revoked.is_empty() || !new.index.is_empty() || !new.rollouts.is_empty() {
            let field =
                "revocations, rollouts or an index outside of their product's role".to_owned();
            return Err(Refused::Unexplained { what: self.file.what().to_owned(), field });
        }
        let last = self.last::<Targets>("targets")?;
        follows("targets", &new.head, last.version())?;
        let none = BTreeMap::new();
        let no_labels = BTreeMap::new();
        let old = last.verified().map_or(&none, |old| &old.delegations);
        let old_labels = last.verified().map_or(&no_labels, |old| &old.labels);
        let mut changes = change::delegations(old, &new.delegations);
        let authority = |(role, d): (&String, &Delegation)| (role.clone(), d.holders.clone());
        let before: BTreeMap<_, _> = old.iter().map(authority).collect();
        let after: BTreeMap<_, _> = new.delegations.iter().map(authority).collect();
        changes.extend(change::holders(&before, &after, old_labels, &new.labels));
        changes.extend(change::labels(old_labels, &new.labels));
        let old_root = last.verified().and_then(|old| old.trusted_root);
        let came = self.asked.trusted_root;
        changes.extend(instance::change(self.file.what(), old_root, new.trusted_root, came)?);
        let review = self.explained(&new, &last, changes, new.other.clone());
        let mut reviewed = self.by_root("targets", review)?;
        if let Some(drafted) = self.asked.delegator {
            self.circle_of_draft(drafted, &mut reviewed)?;
        }
        Ok(reviewed)
    }

    /// Where the same draft replaces the root, the new circle signs too. The drafted root proves nothing: it
    /// only names those who are asked besides the proven ones.
    fn circle_of_draft(&self, drafted: &[u8], reviewed: &mut Reviewed) -> Result<(), Refused> {
        let drafted = Root::of(&TufFile::published("the drafted root", "root", drafted)?)?;
        follows("root", &drafted.head, Some(self.chain.newest().head.version))?;
        let holders = role_of(&drafted, "targets")?;
        let of = format!("targets, by the DRAFT of root version {}", drafted.head.version);
        reviewed.signers.extend(holders.set());
        if let Review::Role(review) = &mut reviewed.review {
            review.signers.push(Signers::new(of, holders, &drafted.labels));
        }
        Ok(())
    }

    fn listing(&self) -> Result<Reviewed, Refused> {
        let role = self.asked.role;
        let new = Listing::of(self.file)?;
        let last = self.last::<Listing>(role)?;
        follows(role, &new.head, last.version())?;
        let none = BTreeMap::new();
        let old = last.verified().map_or(&none, |old| &old.files);
        let mut changes = Vec::new();
        // TUF 1.0 §5.4.4.1 and §5.5.5: listed versions never go back, and no file vanishes.
        for (file, from) in old {
            match new.files.get(file) {
                Some(to) if to >= from => {}
                to => {
                    return Err(Refused::Rollback {
                        role: role.to_owned(),
                        file: file.clone(),
                        from: *from,
                        to: to.map_or_else(|| "nothing".to_owned(), u64::to_string),
                    });
                }
            }
        }
        for (file, to) in &new.files {
            let from = old.get(file).copied();
            if from != Some(*to) {
                changes.push(Change::FileVersion { file: file.clone(), from, to: *to });
            }
        }
        let review = self.explained(&new, &last, changes, new.other.clone());
        self.by_root(role, review)
    }

    /// The last version of a top-level role.
    fn last<R: Role>(&self, role: &str) -> Result<Last<R>, Refused> {
        let Some(bytes) = self.asked.last else { return Ok(Last::None) };
        let file = TufFile::published(&format!("the last {role}"), role, bytes)?;
        let under = self.chain.signed_under(&file, role)?;
        let last = R::of(&file)?;
        Ok(if under == self.chain.newest().head.version {
            Last::Verified(last)
        } else {
            Last::Superseded { version: last.head().version, under }
        })
    }

    pub(super) fn explained<R: Role>(
        &self,
        new: &R,
        last: &Last<R>,
        changes: Vec<Change>,
        other: BTreeMap<String, Value>,
    ) -> RoleReview {
        let (pinned, root) = (self.chain.pinned(), self.chain.newest().head.version);
        let before = match last {
            Last::None => Before::First { pinned, root },
            Last::Superseded { version, under } => {
                Before::Superseded { pinned, root, version: *version, under: *under }
            }
            Last::Verified(last) => {
                let Head { version, expires, .. } = *last.head();
                Before::Last { pinned, root, version, expires }
            }
        };
        RoleReview {
            role: self.asked.role.to_owned(),
            version: new.head().version,
            expires: new.head().expires,
            message: Sha256::of(self.file.message()),
            before,
            delegator: None,
            signers: Vec::new(),
            changes,
            other,
        }
    }

    /// Finishes the review of a role whose signers the newest root names.
    fn by_root(&self, role: &str, review: RoleReview) -> Result<Reviewed, Refused> {
        let root = self.chain.newest();
        let holders = role_of(root, role)?;
        let signers = vec![Signers::new(role.to_owned(), holders, &root.labels)];
        Ok(reviewed(self.file, holders.set(), RoleReview { signers, ..review }))
    }
}

pub(super) fn reviewed(
    file: &TufFile,
    signers: BTreeSet<PublicKey>,
    review: RoleReview,
) -> Reviewed {
    Reviewed {
        message: file.message().to_vec(),
        signers,
        releases: Vec::new(),
        title: format!("{} version {}", review.role, review.version),
        first_root: false,
        review: Review::Role(Box::new(review)),
    }
}

pub(super) fn added(change: &Change) -> Option<&Release> {
    match change {
        Change::ReleaseAdded { release, .. } | Change::ReleaseChanged { release, .. } => {
            Some(release)
        }
        _ => None,
    }
}
