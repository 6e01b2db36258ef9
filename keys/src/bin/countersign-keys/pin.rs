//! `pin`: the root that this keyholder judges every request from.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_keys::pin::PinnedRoot;
use countersign_keys::review;
use countersign_keys::store::Overwrite;
use serde_json::json;

use crate::input::{failed, refused, root_file};

const NOTES: &str = "\
Example:
  countersign-keys pin --key alice.key 1.root.json

Compare the key ids that it shows with their keyholders, by another channel, before you rely on
it. Later roots need no pinning: they are followed from this one by their signatures.";

/// Store a published root beside a key (NAME.root.json), after showing it
#[derive(clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Args {
    /// The key whose root it becomes
    #[arg(long, value_name = "NAME.key", env = "COUNTERSIGN_KEY")]
    key: PathBuf,
    /// Put it in place of another root that is pinned
    #[arg(long)]
    replace: bool,
    /// The published root
    #[arg(value_name = "ROOT.json")]
    root: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let root = root_file(&self.root)?;
        let shown = review::root(&root).map_err(refused)?;
        out.say(shown.words(jiff::Timestamp::now()));
        let old = PinnedRoot::beside(&self.key).map_err(failed)?;
        let over = match old {
            None => Overwrite::Never,
            Some(old) if old.same(&root) || self.replace => Overwrite::Replace,
            Some(_) => {
                let path = PinnedRoot::path(&self.key);
                let sentence = format!("{} holds another root already", path.display());
                return Err(Failure::new(Exit::Untrusted, sentence)
                    .hint("it stays good for all later roots; to begin anew, say --replace"));
            }
        };
        let path = root.save(&self.key, over).map_err(failed)?;
        out.say(format!("Pinned: {}", path.display()));
        out.json(&json!({ "pinned": path, "root": shown }));
        Ok(Exit::Done)
    }
}
