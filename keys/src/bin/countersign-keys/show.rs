//! `show`: public keys, as people compare them.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_keys::label::{number_text, ssh_fingerprint};
use countersign_metadata::key::Algorithm;
use serde_json::json;

use crate::input::public;

/// Show public keys: label, key, key id, SSH fingerprint, minisign key number
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  countersign-keys show *.pub\n  countersign-keys show --json alice.pub"
)]
pub(crate) struct Args {
    /// Public key files: ours, minisign's, signify's, OpenSSH's, PEM
    #[arg(required = true, value_name = "NAME.pub")]
    files: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let mut shown = Vec::new();
        for path in &self.files {
            let found = public(path)?;
            let (key, label) = (found.key, found.label());
            let named = if label.is_empty() { "(no label)" } else { label };
            out.say(format!("{}: {named}", path.display()));
            out.say(format!("  key       {key}"));
            out.say(format!("  key id    {}", key.id()));
            out.say(format!("  ssh       {}", ssh_fingerprint(&key)));
            let minisign = (key.algorithm() == Algorithm::Ed25519).then(|| number_text(&key));
            if let Some(number) = &minisign {
                out.say(format!("  minisign  {number}"));
            }
            shown.push(json!({
                "file": path, "label": label, "key": key, "id": key.id(), "minisign": minisign,
                "ssh": ssh_fingerprint(&key),
            }));
        }
        out.json(&shown);
        Ok(Exit::Done)
    }
}
