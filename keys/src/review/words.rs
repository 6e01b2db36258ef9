//! A review in words, for a person who is about to sign.

use std::fmt;

use jiff::Timestamp;

use super::role::{Before, RoleReview};
use super::{Review, printable};

impl Review {
    /// The review as text. `now` turns the expiry into days.
    pub fn words(&self, now: Timestamp) -> String {
        match self {
            Self::Role(review) => Words { review, now }.to_string(),
            Self::Statement(review) => review.to_string(),
        }
    }
}

struct Words<'a> {
    review: &'a RoleReview,
    now: Timestamp,
}

const NOTHING_BEFORE: &str = "\
nothing is known before it, and no program can tell a true one from a false one.
  Compare every key id below with its keyholder by another channel (a call, a meeting) before you rely on it.";

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoleReview { role, version, expires, message, .. } = self.review;
        writeln!(f, "Role {role}, version {version}")?;
        self.before(f)?;
        if let Some(delegator) = &self.review.delegator {
            let (role, version) = (&delegator.role, delegator.version);
            let how = if delegator.signed {
                "signed by its keyholders"
            } else {
                "a DRAFT that its keyholders have not signed yet"
            };
            writeln!(f, "  Delegated by {role} version {version}, {how}.")?;
        }
        writeln!(f, "What changes:")?;
        if self.review.changes.is_empty() {
            writeln!(f, "  nothing but the version and the expiry")?;
        }
        for change in &self.review.changes {
            writeln!(f, "  {change}")?;
        }
        for (field, value) in &self.review.other {
            let (field, value) = (printable(field), printable(&value.to_string()));
            writeln!(f, "  ? a field that this program does not know: {field} = {value}")?;
        }
        let days = expires.duration_since(self.now).as_secs().div_euclid(86_400);
        match days {
            ..0 => writeln!(f, "Expires: {expires}: EXPIRED already")?,
            _ => writeln!(f, "Expires: {expires}, in {days} days")?,
        }
        for signers in &self.review.signers {
            let of = signers.keys.len();
            writeln!(f, "Signed as {} by {} of these {of} keys:", signers.of, signers.threshold)?;
            for key in &signers.keys {
                writeln!(f, "  {key}")?;
            }
        }
        write!(f, "The exact bytes have sha256 {message}")
    }
}

impl Words<'_> {
    fn before(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = |pinned: &u64, root: &u64| match root - pinned {
            0 => format!("your pinned root (version {pinned})"),
            steps => format!(
                "root version {root}, which follows your pinned root (version {pinned}) in {steps} signed step(s)"
            ),
        };
        match &self.review.before {
            Before::Nothing => {
                let first =
                    if self.review.version == 1 { "a FIRST root" } else { "a root to begin with" };
                writeln!(f, "  This is {first}: {NOTHING_BEFORE}")
            }
            Before::First { pinned, root } => {
                writeln!(f, "  Judged by {}. It is this role's first version.", chain(pinned, root))
            }
            Before::Last { pinned, root, version, expires } => {
                writeln!(f, "  Judged by {}.", chain(pinned, root))?;
                writeln!(
                    f,
                    "  It follows version {version} (signed as it must be, expires {expires})."
                )
            }
            Before::Superseded { pinned, root, version, under } => {
                writeln!(f, "  Judged by {}.", chain(pinned, root))?;
                writeln!(
                    f,
                    "  It follows version {version}, which was signed under root version {under}."
                )?;
                writeln!(
                    f,
                    "  Those keys have been replaced since, so ALL of its contents are shown as new."
                )
            }
        }
    }
}
