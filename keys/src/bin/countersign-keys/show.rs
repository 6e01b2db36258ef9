//! `show`: public keys, as people compare them.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_keys::label::{number_text, public_label};
use countersign_keys::store;
use countersign_metadata::PublicKey;
use serde_json::json;

use crate::input::failed;

/// Show public keys: label, key, key id, minisign key number
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  countersign-keys show *.pub\n  countersign-keys show --json alice.pub"
)]
pub(crate) struct Args {
    /// Public key files; those of stock minisign too
    #[arg(required = true, value_name = "NAME.pub")]
    files: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let mut shown = Vec::new();
        for path in &self.files {
            let bytes = store::read(path, 4096).map_err(failed)?;
            let text = String::from_utf8_lossy(&bytes);
            let key = PublicKey::from_file_text(&text)
                .or_fail(Exit::Input, format!("{} holds no public key", path.display()))
                .map_err(|f| f.hint("give NAME.pub, the public half, not NAME.key"))?;
            let label = public_label(&text);
            out.say(format!(
                "{}: {}",
                path.display(),
                if label.is_empty() { "(no label)" } else { &label }
            ));
            out.say(format!("  key       {key}"));
            out.say(format!("  key id    {}", key.id()));
            out.say(format!("  minisign  {}", number_text(&key)));
            shown.push(json!({
                "file": path, "label": label, "key": key, "id": key.id(), "minisign": number_text(&key),
            }));
        }
        out.json(&shown);
        Ok(Exit::Done)
    }
}
