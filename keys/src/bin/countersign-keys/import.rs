//! `import`: a public key of another tool, written as ours with a label.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_keys::label::{check, public_text};
use countersign_keys::store::{self, Overwrite};
use serde_json::json;

use crate::input::{failed, public};

const EXAMPLES: &str = "\
Examples:
  countersign-keys import --label Alice ~/.ssh/id_ed25519.pub -o alice.pub
  openssl pkey -in bob.pem -pubout | countersign-keys import --label Bob /dev/stdin -o bob.pub
  pkcs11-tool --module LIB --read-object --type pubkey --id 01 -o carol.der
  countersign-keys import --label Carol carol.der -o carol.pub

Reads public keys of minisign, signify, OpenSSH (Ed25519, nistp256) and SPKI (PEM or DER).";

/// Take in somebody's public key, whatever tool made it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The key's name for people; the one in the file, or the file's name, when absent
    #[arg(long)]
    label: Option<String>,
    /// Where it goes [default: LABEL.pub beside nothing else: the current directory]
    #[arg(short, value_name = "NAME.pub")]
    output: Option<PathBuf>,
    /// The public key
    file: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let found = public(&self.file)?;
        let label = self.label.unwrap_or_else(|| found.label_or_name(&self.file));
        check(&label).map_err(|error| {
            Failure::new(Exit::Usage, error).hint("give the key a name with --label")
        })?;
        let path = self.output.unwrap_or_else(|| PathBuf::from(format!("{label}.pub")));
        let text = public_text(&found.key, &label);
        store::write(&path, text.as_bytes(), 0o644, Overwrite::Never).map_err(failed)?;
        out.say(format!("Public key: {} ({label})", path.display()));
        out.say(format!("  {}", found.key));
        out.say(format!("  key id {}", found.key.id()));
        out.json(&json!({
            "public": path, "label": label, "key": found.key, "id": found.key.id(),
        }));
        Ok(Exit::Done)
    }
}
