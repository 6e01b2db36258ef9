//! `trusted-root`: whose keyless statements nodes can verify, as a target that keyholders sign.

use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_metadata::authoring::{Draft, DraftState};
use countersign_metadata::sigstore::TrustedRoot;
use countersign_metadata::trusted_root::{MAX, Role, TARGET, parties};
use serde_json::json;

use crate::draft_dir::DraftDir;
use crate::repository::Repository;
use crate::when::{self, Within};
use crate::{disk, status, tell};

/// Draft the trusted root of a Sigstore instance: by it nodes believe keyless statements
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// The instance's trusted_root.json, from somebody you trust
    #[arg(value_name = "TRUSTED_ROOT.json", required_unless_present = "remove")]
    file: Option<PathBuf>,
    /// Take it out: nodes believe no keyless statement any more
    #[arg(long, conflicts_with = "file")]
    remove: bool,
    /// How long the top-level targets role is good
    #[arg(long, value_name = "SPAN", default_value = "1y")]
    expires: Within,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let mut published = repository.must_be_published()?;
        let now = when::now();
        let bytes = self.file.as_ref().map(|file| disk::read(file, MAX)).transpose()?;
        if let (Some(bytes), Some(file)) = (&bytes, &self.file) {
            check(file, bytes)?;
        }
        let expires = self.expires.after(now)?;
        let draft = Draft::trusted_root(&published, bytes.as_deref(), expires)
            .map_err(|error| tell::authoring("cannot draft this trusted root", &error))?;
        let dir = DraftDir::create(&repository, "trusted-root", &draft, |to| match &bytes {
            Some(bytes) => disk::write(&to.join(TARGET), bytes),
            None => Ok(()),
        })?;
        let draft = DraftDir::open(&repository, &dir, Some(&mut published))?;
        let requests: Vec<_> = draft.draft.parts().iter().map(|p| draft.request_path(p)).collect();
        out.say(format!("The trusted root is drafted in {}", dir.display()));
        status::show(&status::describe(&draft, &DraftState::Open, now), now, out);
        out.json(&json!({ "draft": draft.name(), "dir": dir, "requests": requests }));
        Ok(Exit::Done)
    }
}

/// What nodes will do with it, and keyholders be shown of it, done before anybody is asked to sign.
fn check(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let what = || format!("{} is no trusted root", file.display());
    TrustedRoot::parse(bytes).or_fail(Exit::Input, what())?;
    let parties = parties(bytes).or_fail(Exit::Input, what())?;
    for role in [Role::CertificateAuthority, Role::CertificateLog, Role::Log] {
        if !parties.iter().any(|party| party.role == role) {
            let sentence = format!("{} names no {}", file.display(), role.name());
            return Err(Failure::new(Exit::Input, sentence)
                .hint("without one of each, no keyless statement can be verified"));
        }
    }
    Ok(())
}
