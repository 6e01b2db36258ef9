//! A request for one role or, in a renewal, for many: each proven and explained, and said together.

use std::fmt::Write as _;

use countersign_metadata::Sha256;
use countersign_metadata::request::{
    FORMAT, RequestSubject, Signature, Signatures, SigningRequest,
};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::role::RoleReview;
use super::{Review, Reviewed, review};
use crate::Refused;
use crate::pin::PinnedRoot;

/// What a request asks for; at least one role or statement. Born in [`review_each`].
pub struct Many {
    all: Vec<Reviewed>,
    renewal: bool,
}

/// The answer to a request: a signature, or one for each role of a renewal.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To a request for one.
    One(Box<Signature>),
    /// To a renewal.
    Many(Signatures),
}

/// Proves and explains a request, whether it asks for one role or for many. Each role of a renewal is judged as if it
/// had been asked for alone.
///
/// # Errors
/// As [`review`], for any of them.
pub fn review_each(request: &SigningRequest, pinned: Option<&PinnedRoot>) -> Result<Many, Refused> {
    let RequestSubject::Renewal(renewal) = &request.subject else {
        return Ok(Many { all: vec![review(request, pinned)?], renewal: false });
    };
    if request.format != FORMAT {
        return Err(Refused::Format(request.format));
    }
    let mut all = Vec::new();
    for renewed in &renewal.files {
        let one = renewal.request(renewed).map_err(|e| Refused::malformed(&renewed.role, e))?;
        all.push(review(&one, pinned)?);
    }
    if all.is_empty() {
        return Err(Refused::malformed("the renewal", "it renews nothing"));
    }
    Ok(Many { all, renewal: true })
}

impl Many {
    /// Each of them.
    pub fn each(&self) -> &[Reviewed] {
        &self.all
    }

    /// The answer that these signatures, in order, are.
    pub fn answer(&self, signatures: Vec<Signature>) -> Option<Answer> {
        if self.renewal {
            return Some(Answer::Many(Signatures { format: FORMAT, signatures }));
        }
        signatures.into_iter().next().map(|one| Answer::One(Box::new(one)))
    }

    /// All of it as text. What is the same for every role of a renewal is said once.
    pub fn words(&self, now: Timestamp) -> String {
        let roles: Vec<&RoleReview> = self
            .all
            .iter()
            .filter_map(|one| match one.get() {
                Review::Role(role) => Some(&**role),
                Review::Statement(_) => None,
            })
            .collect();
        let (Some(first), true) = (roles.first(), self.renewal) else {
            return self.all.iter().map(|one| one.get().words(now)).collect();
        };
        let same = |role: &RoleReview| {
            role.changes.is_empty() && role.other.is_empty() && role.expires == first.expires
        };
        let renewed = roles.iter().filter(|role| same(role)).count();
        let mut text = format!("Renewal of {} roles, each judged by itself\n", roles.len());
        for role in &roles {
            let _infallible = writeln!(text, "  {} version {}", role.role, role.version);
        }
        let _infallible = writeln!(
            text,
            "In {renewed} of them nothing changes but the version and the expiry. What follows holds for all of these:",
        );
        let mut said = false;
        for (one, role) in self.all.iter().zip(&roles) {
            // Whoever differs is shown in full.
            if !same(role) || !said {
                let indent = if same(role) { "  " } else { "" };
                text.extend(one.get().words(now).lines().map(|line| format!("{indent}{line}\n")));
                said |= same(role);
            }
        }
        let messages: String =
            roles.iter().map(|r| format!("{} {}\n", r.message, r.role)).collect();
        let together = Sha256::of(messages.as_bytes());
        let _infallible =
            write!(text, "Their {} lines \"sha256 role\" have sha256 {together}", roles.len());
        text
    }
}

/// One as a review, many as a list of reviews.
impl Serialize for Many {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.all[..] {
            [one] if !self.renewal => one.get().serialize(to),
            all => to.collect_seq(all.iter().map(Reviewed::get)),
        }
    }
}
