//! `init`: a new repository, with its first roles drafted for keyholders to sign.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::Product;
use countersign_metadata::authoring::{Draft, Plan};
use countersign_metadata::trust::Bins;
use serde_json::json;

use crate::draft_dir::DraftDir;
use crate::labelled::LabelledFile;
use crate::repository::Repository;
use crate::tell;
use crate::when::{self, Within};

/// Begin a repository and draft its first roles
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory to make
    #[arg(long)]
    repo: PathBuf,
    /// A product; may be given more than once
    #[arg(long = "product", value_name = "NAME", required = true)]
    products: Vec<Product>,
    /// A keyholder and the file of their minisign public key
    #[arg(long = "keyholder", value_name = "LABEL=FILE", required = true)]
    keyholders: Vec<LabelledFile>,
    /// How many keyholders must sign
    #[arg(long)]
    threshold: usize,
    /// Public key that signs snapshot and timestamp, unattended
    #[arg(long, value_name = "[LABEL=]FILE")]
    online: LabelledFile,
    /// Keep each product's releases in so many hash bins (a power of two, 16 to 4096): for very many releases
    #[arg(long, value_name = "N")]
    bins: Option<Bins>,
    /// How long root, targets and product roles are good
    #[arg(long, value_name = "SPAN", default_value = "1y")]
    expires: Within,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let plan = Plan {
            products: self.products,
            keyholders: self.keyholders.iter().map(|k| k.read(None)).collect::<Result<_, _>>()?,
            threshold: self.threshold,
            online: self.online.read(Some("online"))?,
            expires: self.expires.after(when::now())?,
        };
        let draft = Draft::init_with_bins(&plan, self.bins)
            .map_err(|e| tell::authoring("cannot begin", &e))?;
        let repository = Repository::create(&self.repo)?;
        let dir = DraftDir::create(&repository, "init", &draft, |_| Ok(()))?;
        let draft = DraftDir::open(&repository, &dir, None)?;

        let requests = draft.request_paths();
        let (threshold, holders) = (plan.threshold, plan.keyholders.len());
        out.say(format!(
            "The repository is drafted: {threshold} of {holders} keyholders must sign each of:"
        ));
        for path in &requests {
            out.say(format!("  {}", path.display()));
        }
        out.say("Send the files to the keyholders (`countersign-keys review`, `sign`), then `merge` what comes back.");
        out.json(&json!({ "draft": draft.name(), "dir": dir, "requests": requests }));
        Ok(Exit::Done)
    }
}
