//! `merge`: take keyholders' signatures in, each verified before it is stored.

use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_metadata::authoring::DraftState;
use countersign_metadata::request::{Signature, Signatures};
use serde_json::json;

use crate::draft_dir::{DraftDir, MAX_SIGNATURE, MAX_SIGNATURES};
use crate::repository::Repository;
use crate::{disk, status, when};

/// Take signatures in
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// The draft, by number or name [default: whichever the signature is for]
    #[arg(long)]
    draft: Option<String>,
    /// Files that `countersign-keys sign` wrote
    #[arg(required = true, value_name = "SIGNATURE_FILE")]
    signatures: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let mut published = repository.published()?;
        let mut drafts = match &self.draft {
            Some(wanted) => vec![repository.draft(wanted, published.as_mut())?],
            None => repository.drafts(published.as_mut())?,
        };
        drafts.retain(|d| d.draft.state(published.as_ref()) == DraftState::Open);

        // One bad file does not keep the good ones out; the first bad one is what the command fails with.
        let mut first_bad = None;
        let mut merged = Vec::new();
        for file in &self.signatures {
            match merge(file, &mut drafts) {
                Ok(taken) => {
                    if let [.., Taken { draft, role, signer }] = &taken[..] {
                        let more = match taken.len() {
                            1 => String::new(),
                            n => format!(" and {} more", n - 1),
                        };
                        out.say(format!("{signer} has signed {role}{more} of draft {draft}"));
                    }
                    merged.extend(taken.into_iter().map(|Taken { draft, role, signer }| {
                        json!({ "file": file, "draft": draft, "role": role, "signer": signer })
                    }));
                }
                Err(failure) => {
                    out.say(format!("{} was not taken in: {}", file.display(), failure.sentence()));
                    first_bad.get_or_insert(failure);
                }
            }
        }
        let now = when::now();
        let described: Vec<_> =
            drafts.iter().map(|d| status::describe(d, &DraftState::Open, now)).collect();
        for draft in &described {
            status::show(draft, now, out);
        }
        if let Some(failure) = first_bad {
            return Err(failure);
        }
        out.json(&json!({ "merged": merged, "drafts": described }));
        Ok(Exit::Done)
    }
}

/// A signature that was taken in.
struct Taken {
    draft: String,
    role: String,
    signer: String,
}

/// What a file holds: one signature, or those for a renewal.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Answer {
    Many(Signatures),
    One(Box<Signature>),
}

fn merge(file: &Path, drafts: &mut [DraftDir]) -> Result<Vec<Taken>, Failure> {
    let shown = file.display();
    let bytes = disk::read(file, MAX_SIGNATURES)?;
    let answer: Answer =
        serde_json::from_slice(&bytes).or_fail(Exit::Input, format!("{shown} is no signature"))?;
    let signatures = match answer {
        Answer::One(signature) if bytes.len() as u64 <= MAX_SIGNATURE => vec![*signature],
        Answer::One(_) => {
            return Err(Failure::new(Exit::Input, format!("{shown} is too long for a signature")));
        }
        Answer::Many(many) => many.signatures,
    };
    let stray = || {
        Failure::new(Exit::Input, format!("{shown} is for nothing that is open here"))
            .hint("its draft may be published, superseded, or in another repository")
    };
    if signatures.is_empty() {
        return Err(stray());
    }
    // All of a renewal or none of it: half of one would look signed.
    let mut accepted = Vec::new();
    for signature in signatures {
        let found = drafts.iter().position(|d| d.part_for(&signature).is_some());
        let number = found.ok_or_else(stray)?;
        let part = drafts.get(number).and_then(|d| d.part_for(&signature)).ok_or_else(stray)?;
        let taken =
            part.accept(signature).or_fail(Exit::Untrusted, format!("{shown} was refused"))?;
        accepted.push((number, part.role().to_owned(), taken));
    }
    let mut stored = Vec::new();
    for (number, role, taken) in accepted {
        let draft = drafts.get_mut(number).ok_or_else(stray)?;
        let signer = taken.signer().to_string();
        draft.store(&role, taken)?;
        stored.push(Taken { draft: draft.name(), role, signer });
    }
    Ok(stored)
}
