//! A signing request, proven and explained from its own contents and the pinned root alone.
//!
//! Nothing in a request is believed: the chain of roots is walked from the one that the keyholder pinned, the last
//! version and the delegation are verified, and what cannot be explained is refused.

mod bins;
mod case;
mod chain;
mod change;
mod facts;
pub(crate) mod file;
mod instance;
mod last;
mod many;
mod product;
mod role;
pub(crate) mod roles;
mod statement;
mod targets;
mod words;

use std::collections::BTreeSet;

use countersign_metadata::request::{FORMAT, RequestSubject, SigningRequest};
use countersign_metadata::{PublicKey, Release, Sha256};
use serde::Serialize;

pub use change::{Change, NamedKey};
pub use many::{Answer, Many, review_each};
pub use role::{Before, Delegator, RoleReview, Signers};
pub use statement::{Says, StatementReview};

use crate::Refused;
use crate::pin::PinnedRoot;

/// A request that was proven and explained; the only thing that [`crate::sign::sign`] takes. Born in [`review`].
pub struct Reviewed {
    pub(crate) message: Vec<u8>,
    /// Who may sign it.
    pub(crate) signers: BTreeSet<PublicKey>,
    /// Releases that it adds or changes: a keyholder rebuilds them first.
    pub(crate) releases: Vec<Release>,
    /// What it is, on one line.
    pub(crate) title: String,
    pub(crate) first_root: bool,
    review: Review,
}

/// What a keyholder is shown.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Review {
    /// A version of a TUF role.
    Role(Box<RoleReview>),
    /// An in-toto statement.
    Statement(Box<StatementReview>),
}

impl Reviewed {
    /// What a keyholder is shown.
    pub fn get(&self) -> &Review {
        &self.review
    }

    /// The releases that it adds or changes.
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// Whether it is the first root of a repository, before which nothing is known.
    pub fn is_first_root(&self) -> bool {
        self.first_root
    }
}

/// Proves and explains a request.
///
/// # Errors
/// Something in it is not proven by `pinned`, does not follow what came before, or cannot be explained.
pub fn review(request: &SigningRequest, pinned: Option<&PinnedRoot>) -> Result<Reviewed, Refused> {
    if request.format != FORMAT {
        return Err(Refused::Format(request.format));
    }
    let message = request.message();
    let digest = Sha256::of(&message);
    match &request.subject {
        RequestSubject::Role {
            role,
            payload,
            roots,
            last,
            delegator,
            targets,
            published,
            trusted_root,
        } => {
            let asked = case::Asked {
                role,
                payload: &payload.0,
                roots,
                last: last.as_ref().map(|b| b.0.as_slice()),
                delegator: delegator.as_ref().map(|b| b.0.as_slice()),
                targets: targets.as_ref().map(|b| b.0.as_slice()),
                published: published.as_ref().map(|b| b.0.as_slice()),
                trusted_root: trusted_root.as_ref().map(|b| b.0.as_slice()),
            };
            case::review(&asked, pinned)
        }
        RequestSubject::Renewal(_) => Err(Refused::ManyRoles),
        RequestSubject::Statement { payload } => {
            let review = statement::review(&payload.0, digest)?;
            Ok(Reviewed {
                message,
                signers: BTreeSet::from([review.speaks_for]),
                releases: Vec::new(),
                title: format!("a statement about {}", printable(&review.subject.name)),
                first_root: false,
                review: Review::Statement(Box::new(review)),
            })
        }
    }
}

/// A root, explained on its own, for a keyholder who is about to pin it.
///
/// # Errors
/// It cannot be explained.
pub fn root(pinned: &PinnedRoot) -> Result<Review, Refused> {
    case::root_alone(pinned)
}

/// Text from a stranger, safe on a terminal: what moves the cursor, hides or reorders letters is spelled out.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let invisible = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}');
        if c.is_control() || invisible {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
