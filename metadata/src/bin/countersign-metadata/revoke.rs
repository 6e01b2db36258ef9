//! `revoke`: tell nodes to leave a version. (A key is revoked by `rotate --remove`.)

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::authoring::{Draft, DraftState};
use countersign_metadata::{Product, Version};
use serde_json::json;

use crate::draft_dir::DraftDir;
use crate::repository::Repository;
use crate::when::{self, Within};
use crate::{status, tell};

/// Draft the revocation of a released version; a key is revoked by `rotate --remove`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// The product
    #[arg(long, value_name = "NAME")]
    product: Product,
    /// The version that nodes must leave, on all platforms
    #[arg(long, value_name = "VERSION")]
    version: Version,
    /// How long the product's role is good
    #[arg(long, value_name = "SPAN", default_value = "1y")]
    expires: Within,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let mut published = repository.must_be_published()?;
        let now = when::now();
        let (product, version) = (&self.product, &self.version);
        let expires = self.expires.after(now)?;
        published
            .load_bins(product, &mut repository.source())
            .map_err(|error| tell::authoring("cannot read the bins", &error))?;
        let draft = Draft::revoke(&published, product, version, expires).map_err(|error| {
            tell::authoring(format!("cannot revoke {product} {version}"), &error)
        })?;
        let name = format!("revoke-{product}-{version}");
        let dir = DraftDir::create(&repository, &name, &draft, |_| Ok(()))?;
        let draft = DraftDir::open(&repository, &dir, Some(&mut published))?;
        let requests = draft.request_paths();
        out.say(format!("The revocation of {product} {version} is drafted in {}", dir.display()));
        status::show(&status::describe(&draft, &DraftState::Open, now), now, out);
        out.json(&json!({ "draft": draft.name(), "dir": dir, "requests": requests }));
        Ok(Exit::Done)
    }
}
