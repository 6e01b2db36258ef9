//! `verify`: whether a signature answers a request.

use std::error::Error;
use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_keys::minisig;
use countersign_keys::store;
use countersign_metadata::layout::limit;
use countersign_metadata::request::{FORMAT, Signature};
use serde_json::json;

use crate::input::{failed, one_request};

const NOTES: &str = "\
Example:
  countersign-keys verify --request node.request.json alice.sig.json

It says whether these exact bytes were signed, and by which key; whether that key has a say is
for `review` to show.";

/// Check that a signature is over exactly what a request asks to sign
#[derive(clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Args {
    /// The request that it answers
    #[arg(long, value_name = "REQUEST")]
    request: PathBuf,
    /// Of a renewal, which asks for many: this role
    #[arg(long)]
    role: Option<String>,
    /// The signature
    signature: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let request = one_request(Some(&self.request), self.role.as_deref())?;
        let bytes = store::read(&self.signature, limit::ATTESTATION).map_err(failed)?;
        let path = self.signature.display();
        let signature: Signature = serde_json::from_slice(&bytes)
            .or_fail(Exit::Input, format!("{path} is not a signature"))
            .map_err(|f| f.hint("give the file that countersign-keys sign wrote"))?;
        if signature.format != FORMAT {
            let sentence = format!("{path} has format {}, not {FORMAT}", signature.format);
            return Err(Failure::new(Exit::Input, sentence)
                .hint("use the countersign-keys of the same release"));
        }
        let message = request.message();
        let wrong = format!("{path} does not answer this request");
        let hint = "ask its signer to sign this very request";
        let wrong = |error: &(dyn Error + 'static)| {
            Failure::caused(Exit::Untrusted, &wrong, error).hint(hint)
        };
        let verified = signature.verify(&message).map_err(|e| wrong(&e))?;
        let Signature { key, label, minisig, rebuilt, waiver, .. } = verified.get();
        if let Some(text) = minisig {
            minisig::verify(text, key, &message).map_err(|e| wrong(&e))?;
        }
        let label = label.escape_debug().to_string();
        out.say(format!("Signed by {label}: {key}"));
        out.say(format!("  key id {}", key.id()));
        out.json(&json!({
            "key": key, "id": key.id(), "label": label, "message": verified.get().message,
            "carries-verdict": rebuilt.is_some(), "carries-waiver": waiver.is_some(),
        }));
        Ok(Exit::Done)
    }
}
