//! `merge`: take keyholders' signatures in, each verified before it is stored.

use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_metadata::authoring::DraftState;
use countersign_metadata::request::Signature;
use serde_json::json;

use crate::draft_dir::{DraftDir, MAX_SIGNATURE};
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
                Ok((draft, role, signer)) => {
                    out.say(format!("{signer} has signed {role} of draft {draft}"));
                    merged.push(
                        json!({ "file": file, "draft": draft, "role": role, "signer": signer }),
                    );
                }
                Err(failure) => {
                    out.say(format!("{} was not taken in", file.display()));
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

fn merge(file: &Path, drafts: &mut [DraftDir]) -> Result<(String, String, String), Failure> {
    let shown = file.display();
    let signature: Signature = serde_json::from_slice(&disk::read(file, MAX_SIGNATURE)?)
        .or_fail(Exit::Input, format!("{shown} is no signature"))?;
    let found = drafts.iter_mut().find(|d| d.part_for(&signature).is_some());
    let stray = || {
        Failure::new(Exit::Input, format!("{shown} is for nothing that is open here"))
            .hint("its draft may be published, superseded, or in another repository")
    };
    let draft = found.ok_or_else(stray)?;
    let part = draft.part_for(&signature).ok_or_else(stray)?;
    let accepted =
        part.accept(signature).or_fail(Exit::Untrusted, format!("{shown} was refused"))?;
    let (role, signer) = (part.role().to_owned(), accepted.signer().to_string());
    draft.store(&role, accepted)?;
    Ok((draft.name(), role, signer))
}
