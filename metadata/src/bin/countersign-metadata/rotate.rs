//! `rotate`: other keyholders, another threshold, another online key, a new product, or only a later expiry.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::Product;
use countersign_metadata::authoring::{Draft, DraftState, Rotation};
use countersign_metadata::trust::Bins;
use serde_json::json;

use crate::draft_dir::{self, DraftDir};
use crate::labelled::LabelledFile;
use crate::repository::Repository;
use crate::when::{self, Within};
use crate::{status, tell};

/// Draft other keyholders, another threshold, another online key, or a later expiry
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// A keyholder who joins, and the file of their public key
    #[arg(long, value_name = "LABEL=FILE")]
    add: Vec<LabelledFile>,
    /// A keyholder who leaves: revokes their key
    #[arg(long, value_name = "LABEL|KEY")]
    remove: Vec<String>,
    /// How many keyholders must sign from then on [default: as before]
    #[arg(long)]
    threshold: Option<usize>,
    /// Public key that signs snapshot and timestamp from then on [default: as before]
    #[arg(long, value_name = "[LABEL=]FILE")]
    online: Option<LabelledFile>,
    /// A product that joins
    #[arg(long = "product", value_name = "NAME")]
    products: Vec<Product>,
    /// Keep the releases of the products that join in so many hash bins (a power of two, 16 to 4096)
    #[arg(long, value_name = "N", requires = "products")]
    bins: Option<Bins>,
    /// Draft all that keyholders sign anew, so that it expires later
    #[arg(long)]
    renew: bool,
    /// How long the new versions are good
    #[arg(long, value_name = "SPAN", default_value = "1y")]
    expires: Within,
    /// Name of the draft
    #[arg(long, default_value = "rotate")]
    name: String,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let name = draft_dir::plain(self.name)?;
        let repository = Repository::open(&self.repo)?;
        let mut published = repository.must_be_published()?;
        let now = when::now();
        let rotation = Rotation {
            add: self.add.iter().map(|k| k.read(None)).collect::<Result<_, _>>()?,
            remove: self.remove,
            threshold: self.threshold,
            online: self.online.map(|k| k.read(Some("online"))).transpose()?,
            products: self.products,
            bins: self.bins,
            renew: self.renew,
            expires: self.expires.after(now)?,
        };
        for product in published.products() {
            let loaded = published.load_bins(&product, &mut repository.source());
            loaded.map_err(|error| tell::authoring(format!("cannot read {product}"), &error))?;
        }
        let draft = Draft::rotate(&published, &rotation)
            .map_err(|error| tell::authoring("cannot draft this rotation", &error))?;
        let dir = DraftDir::create(&repository, &name, &draft, |_| Ok(()))?;
        let draft = DraftDir::open(&repository, &dir, Some(&mut published))?;

        let requests = draft.request_paths();
        out.say("The rotation is drafted. It is signed by those who hold the keys now and by those who will.");
        status::show(&status::describe(&draft, &DraftState::Open, now), now, out);
        out.json(&json!({ "draft": draft.name(), "dir": dir, "requests": requests }));
        Ok(Exit::Done)
    }
}
