//! `status`: who has signed, who can still, how many are missing, and how long everything is good.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::authoring::{Accepted, DraftState, Evidence, Part};
use countersign_metadata::trust::Signer;
use jiff::Timestamp;
use serde::Serialize;

use crate::draft_dir::DraftDir;
use crate::repository::Repository;
use crate::when;

/// Show what is published and who still has to sign
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// One draft, by number or name [default: all that are open]
    draft: Option<String>,
}

#[derive(Serialize)]
struct Status {
    published: Vec<Published>,
    releases: Vec<String>,
    drafts: Vec<Draft>,
}

#[derive(Serialize)]
struct Published {
    role: String,
    version: u64,
    expires: Timestamp,
    days: i64,
}

/// A draft, for people and programs.
#[derive(Serialize)]
pub(crate) struct Draft {
    name: String,
    state: &'static str,
    release: Option<String>,
    roles: Vec<Role>,
}

#[derive(Serialize)]
struct Role {
    role: String,
    version: u64,
    expires: Timestamp,
    days: i64,
    request: PathBuf,
    needed: usize,
    missing: usize,
    signed: Vec<Signed>,
    can_sign: Vec<Key>,
    /// One, or two where a rotation replaces keyholders: the new circle, then the old one.
    circles: Vec<Circle>,
}

#[derive(Serialize)]
struct Circle {
    needed: usize,
    missing: usize,
    can_sign: Vec<Key>,
}

#[derive(Serialize)]
pub(crate) struct Key {
    label: String,
    key: String,
}

/// A signature, and what it is founded on: `rebuilt`, `unvouched` (by a key that is not said to be the signer's),
/// `waived`, `silent`, or `nothing-to-rebuild`.
#[derive(Serialize)]
pub(crate) struct Signed {
    #[serde(flatten)]
    key: Key,
    evidence: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuilt_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuilt_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    same_rebuild_as: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let mut published = repository.published()?;
        let now = when::now();
        let mut status = Status { published: Vec::new(), releases: Vec::new(), drafts: Vec::new() };
        if let Some(published) = &published {
            status.published = published
                .roles()
                .into_iter()
                .map(|r| Published {
                    days: when::days(now, r.expires),
                    role: r.role,
                    version: r.version,
                    expires: r.expires,
                })
                .collect();
            status.releases = published.releases().iter().map(|t| t.path().to_owned()).collect();
        }
        let drafts = match &self.draft {
            Some(wanted) => vec![repository.draft(wanted, published.as_mut())?],
            None => repository.drafts(published.as_mut())?,
        };
        for dir in drafts {
            let state = dir.draft.state(published.as_ref());
            if state == DraftState::Open || self.draft.is_some() {
                status.drafts.push(describe(&dir, &state, now));
            }
        }
        if self.draft.is_none() {
            out.say(if status.published.is_empty() {
                "Nothing is published yet."
            } else {
                "Published:"
            });
            if !status.published.is_empty() {
                out.table(
                    ["role", "version", "expires", "in"],
                    status.published.iter().map(|p| {
                        let (version, expires) = (p.version.to_string(), p.expires.to_string());
                        [p.role.clone(), version, expires, when::in_days(now, p.expires)]
                    }),
                );
            }
        }
        for draft in &status.drafts {
            show(draft, now, out);
        }
        out.json(&status);
        Ok(Exit::Done)
    }
}

/// Everything that can be said about a draft.
pub(crate) fn describe(dir: &DraftDir, state: &DraftState, now: Timestamp) -> Draft {
    let role = |part: &Part| {
        let accepted = dir.accepted(part);
        let status = part.status(accepted);
        Role {
            role: part.role().to_owned(),
            version: part.version(),
            expires: part.expires(),
            days: when::days(now, part.expires()),
            request: dir.request_path(part),
            needed: status.needed,
            missing: status.missing,
            signed: signatures(accepted),
            can_sign: status.can_sign.iter().map(key).collect(),
            circles: status
                .circles
                .iter()
                .map(|c| Circle {
                    needed: c.needed,
                    missing: c.missing,
                    can_sign: c.can_sign.iter().map(key).collect(),
                })
                .collect(),
        }
    };
    Draft {
        name: dir.name(),
        state: match state {
            DraftState::Open => "open",
            DraftState::Published => "published",
            DraftState::Superseded { .. } => "superseded",
        },
        release: dir.release().map(|r| r.target_path()),
        roles: dir.draft.parts().iter().map(role).collect(),
    }
}

/// Shows a draft to a person.
pub(crate) fn show(draft: &Draft, now: Timestamp, out: Out) {
    out.say(format!("\nDraft {} ({})", draft.name, draft.state));
    if let Some(release) = &draft.release {
        out.say(format!("adds {release}"));
    }
    let rows = draft.roles.iter().map(|r| {
        let signed = r.signed.iter().map(Signed::words);
        let missing = |circle: &Circle, whose: &str| match circle.missing {
            0 => format!("none of {}{whose}", circle.needed),
            n => format!("{n} of {}{whose}", circle.needed),
        };
        let (missing, can_sign) = match r.circles.as_slice() {
            [new, old] => (
                format!("{}\n{}", missing(new, " new"), missing(old, " old")),
                format!(
                    "new: {}\nold: {}",
                    labels(&new.can_sign, ", "),
                    labels(&old.can_sign, ", ")
                ),
            ),
            circles => {
                (circles.iter().map(|c| missing(c, "")).collect(), labels(&r.can_sign, "\n"))
            }
        };
        [
            format!("{} {}", r.role, r.version),
            signed.collect::<Vec<_>>().join("\n"),
            missing,
            can_sign,
            when::in_days(now, r.expires),
        ]
    });
    out.table(["role", "signed by", "missing", "can still sign", "expires in"], rows);
    for role in draft.roles.iter().filter(|r| r.missing > 0) {
        out.say(format!("to sign: {}", role.request.display()));
    }
}

fn labels(keys: &[Key], between: &str) -> String {
    keys.iter().map(|k| k.label.clone()).collect::<Vec<_>>().join(between)
}

fn key(signer: &Signer) -> Key {
    Key { label: signer.to_string(), key: signer.key().to_string() }
}

/// What each signature of a role is founded on. One rebuild that stands behind two signatures is said to.
pub(crate) fn signatures(accepted: &[Accepted]) -> Vec<Signed> {
    let by = |one: &Accepted| match one.evidence() {
        Evidence::Rebuilt { by, .. } => Some(*by),
        _ => None,
    };
    let shared = |one: &Accepted| {
        let others = accepted.iter().filter(|other| other.signer().key() != one.signer().key());
        let same = others.filter(|other| by(one).is_some() && by(other) == by(one));
        same.map(|other| other.signer().to_string()).collect()
    };
    let signed = |one: &Accepted| {
        let (evidence, rebuilt) = match one.evidence() {
            Evidence::NothingToRebuild => ("nothing-to-rebuild", None),
            Evidence::Silent => ("silent", None),
            Evidence::Waived => ("waived", None),
            Evidence::Rebuilt { by, at, own: true } => ("rebuilt", Some((by, *at))),
            Evidence::Rebuilt { by, at, own: false } => ("unvouched", Some((by, *at))),
        };
        let (by, rebuilt_at) = rebuilt.unzip();
        let by = by.filter(|by| *by != one.signer().key()).map(ToString::to_string);
        Signed {
            key: key(one.signer()),
            evidence,
            rebuilt_by: by,
            rebuilt_at,
            same_rebuild_as: shared(one),
        }
    };
    accepted.iter().map(signed).collect()
}

impl Signed {
    /// Who signed and on what grounds, for a person.
    pub(crate) fn words(&self) -> String {
        let Self { key: Key { label, .. }, rebuilt_by, same_rebuild_as, .. } = self;
        let by = rebuilt_by.as_ref().map_or(String::new(), |by| format!(", verdict by {by}"));
        let same = match &same_rebuild_as[..] {
            [] => String::new(),
            others => format!(", THE SAME REBUILD as {}", others.join(" and ")),
        };
        match self.evidence {
            "rebuilt" => format!("{label} (rebuilt it{by}{same})"),
            "unvouched" => {
                format!("{label} (brings a rebuild that it does not call its own{by}{same})")
            }
            "waived" => format!("{label} (waived: NOT rebuilt, and signed that)"),
            "silent" => format!("{label} (says nothing about a rebuild)"),
            _ => label.clone(),
        }
    }
}
