//! `export-message`: the exact bytes of a reviewed request, for a tool of another house to sign.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_keys::import::{message, waiver_message};
use countersign_keys::review::review;
use countersign_keys::store::{self, Overwrite};
use countersign_metadata::Sha256;
use serde_json::json;

use crate::input::{failed, one_request, pinned, public, refused};

const EXAMPLES: &str = "\
Examples:
  countersign-keys export-message --root 1.root.json node.request.json -o node.signed
then one of
  minisign -S -l -s alice.key -m node.signed
  signify-openbsd -S -s bob.sec -m node.signed -x node.sig
  openssl pkeyutl -sign -rawin -inkey carol.pem -in node.signed -out node.sig      (Ed25519)
  openssl dgst -sha256 -sign dave.pem -out node.sig node.signed                    (P-256)
  openssl dgst -sha256 -binary -out node.digest node.signed &&
    pkcs11-tool --module LIB --login --sign --id 01 -m ECDSA -i node.digest -o node.sig     (P-256)
and then countersign-keys import-signature.";

/// Write the exact bytes that a request asks to sign, after explaining them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The root to judge from [default: the one pinned beside PUBLIC, as NAME.root.json]
    #[arg(long, value_name = "ROOT.json")]
    root: Option<PathBuf>,
    /// Your public key
    #[arg(long, value_name = "NAME.pub")]
    public: Option<PathBuf>,
    /// For a release that you have not rebuilt: also write the bytes of your waiver, to be signed by the same key
    #[arg(long, value_name = "FILE", requires = "public")]
    waiver: Option<PathBuf>,
    /// Of a renewal, which asks for many: this role
    #[arg(long)]
    role: Option<String>,
    /// Where the bytes go
    #[arg(short, value_name = "FILE")]
    output: PathBuf,
    /// The request; standard input when absent or `-`
    request: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let request = one_request(self.request.as_deref(), self.role.as_deref())?;
        let pinned = pinned(self.root.as_deref(), self.public.as_deref())?;
        let reviewed = review(&request, pinned.as_ref()).map_err(refused)?;
        out.say(reviewed.get().words(jiff::Timestamp::now()));
        let bytes = message(&reviewed);
        let waiver = match (&self.waiver, &self.public) {
            (Some(path), Some(key)) => {
                let bytes = waiver_message(&reviewed, &public(key)?.key).map_err(refused)?;
                let nothing = || {
                    Failure::new(
                        Exit::Usage,
                        "the request adds no release: there is nothing to waive",
                    )
                    .hint("leave --waiver out")
                };
                Some((path, bytes.ok_or_else(nothing)?))
            }
            _ => None,
        };
        store::write(&self.output, bytes, 0o644, Overwrite::Replace).map_err(failed)?;
        out.say(format!("To be signed as they are: {}", self.output.display()));
        if let Some((path, bytes)) = &waiver {
            store::write(path, bytes, 0o644, Overwrite::Replace).map_err(failed)?;
            out.say(format!("and, to say that you did not rebuild it: {}", path.display()));
        }
        out.json(&json!({
            "message": self.output, "sha256": Sha256::of(bytes), "length": bytes.len(),
            "waiver": waiver.map(|(path, _)| path), "review": reviewed.get(),
        }));
        Ok(Exit::Done)
    }
}
