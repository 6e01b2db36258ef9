//! `init`: a new repository, with its first roles drafted for keyholders to sign.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_metadata::authoring::{Draft, Holder, Plan};
use countersign_metadata::{Product, PublicKey};
use serde_json::json;

use crate::draft_dir::DraftDir;
use crate::repository::Repository;
use crate::when::{self, Within};
use crate::{disk, tell};

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
    /// How long root, targets and product roles are good
    #[arg(long, value_name = "SPAN", default_value = "1y")]
    expires: Within,
}

/// `LABEL=FILE`, or `FILE` alone.
#[derive(Clone, Debug)]
struct LabelledFile {
    label: Option<String>,
    file: PathBuf,
}

impl std::str::FromStr for LabelledFile {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            Some((label, file)) => Self { label: Some(label.to_owned()), file: file.into() },
            None => Self { label: None, file: text.into() },
        })
    }
}

impl LabelledFile {
    /// Without a label, a key goes by the name of its file.
    fn read(&self, label: Option<&str>) -> Result<Holder, Failure> {
        let no_key = || format!("{} is no public key", self.file.display());
        let bytes = disk::read(&self.file, 4096)
            .map_err(|f| f.hint("`countersign-keys generate` makes key pairs"))?;
        let text = String::from_utf8_lossy(&bytes);
        let key = PublicKey::from_file_text(&text).or_fail(Exit::Input, no_key())?;
        let stem = || self.file.file_stem().map(|s| s.to_string_lossy().into_owned());
        let label = self.label.clone().or(label.map(str::to_owned)).or_else(stem);
        Ok(Holder { label: label.unwrap_or_default(), key })
    }
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
        let draft = Draft::init(&plan).map_err(|e| tell::authoring("cannot begin", &e))?;
        let repository = Repository::create(&self.repo)?;
        let dir = DraftDir::create(&repository, "init", &draft, |_| Ok(()))?;
        let draft = DraftDir::open(&dir, None)?;

        let requests: Vec<_> = draft.draft.parts().iter().map(|p| draft.request_path(p)).collect();
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
