//! `restore`: a copy onto a node that has no state yet.

use std::path::PathBuf;

use countersign_backup::BackupError;
use countersign_backup::restore::{Accept, restore};
use countersign_console::{Exit, Failure, Out, Progress};
use serde_json::{Value, json};

use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater install --repository https://releases.example.org/ --root root.json \\
      --product examplenode /srv/examplenode
  (write [backup] into /srv/examplenode/countersign-updater.toml, and the password into its file)
  countersign-backup restore /srv/examplenode
      the newest copy, under the version that wrote it; `countersign-updater run` then updates as usual
  countersign-backup restore --copy 4f2a91c3 /srv/examplenode
      another one of `countersign-backup list`

The node must be stopped and its state empty. The copy goes into a new data directory; nothing is replaced.";

/// Restore a copy onto an empty node
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory: installed, stopped, and without state
    node: PathBuf,
    /// Which copy: the beginning of its name
    #[arg(long, value_name = "NAME", default_value = "latest")]
    copy: String,
    /// Take a copy that was made without what is secret (backup.secrets = false)
    #[arg(long)]
    without_secrets: bool,
    /// Go on with an empty state if the store has no copy
    #[arg(long)]
    allow_empty: bool,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let node = tell::node(&self.node)?;
        let _lock = node.lock()?;
        let accept = if self.without_secrets { Accept::WithoutSecrets } else { Accept::Whole };
        let spinner = Progress::spinner("restoring");
        let restored = node.open().and_then(|repository| {
            let (home, config, backup) = (&node.home, &node.config, &node.backup);
            restore(home, config, backup, &repository, Some(&self.copy), accept)
        });
        drop(spinner);
        let restored = match restored {
            Err(BackupError::Empty(place)) if self.allow_empty => {
                out.say(format!(
                    "There is no copy in {place}: the node begins with an empty state."
                ));
                out.json(&json!({ "restored": Value::Null }));
                return Ok(Exit::Done);
            }
            restored => restored.map_err(|error| tell::failure(&error))?,
        };
        let (copy, data) = (&restored.copy, restored.data);
        let id = copy.id.get(..8).unwrap_or(&copy.id);
        out.say(format!("Restored copy {id}, the state of {}, into state/{data}.", copy.at));
        for (area, from, to) in &restored.migrated {
            out.say(format!("  {area} was migrated from schema {from} to {to}"));
        }
        out.say(format!(
            "Generation {} runs version {} on it.",
            restored.generation, restored.version
        ));
        for path in &restored.missing {
            out.say(format!(
                "  state/{data}/{path} was not in the copy: put it there before you start the node"
            ));
        }
        out.say("\nNext: countersign-updater supervise NODE, and countersign-updater run NODE");
        out.say("The store still belongs to who wrote it last; if that node is gone: countersign-backup takeover NODE");
        let migrated: Vec<_> = restored
            .migrated
            .iter()
            .map(|(area, from, to)| json!({ "area": area, "from": from, "to": to }))
            .collect();
        out.json(&json!({
            "restored": copy,
            "data": data,
            "generation": restored.generation,
            "version": restored.version,
            "missing": restored.missing,
            "migrated": migrated,
        }));
        Ok(Exit::Done)
    }
}
