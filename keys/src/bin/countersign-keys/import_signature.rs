//! `import-signature`: a raw signature of a stock tool becomes an answer to a request, once it verifies.

use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure};
use countersign_keys::import::import;
use countersign_keys::raw::MAX_RAW;
use countersign_keys::review::review;
use countersign_keys::sign::Rebuilds;
use countersign_keys::store;
use countersign_metadata::layout::limit;

use crate::input::{answer, failed, keep_pin, one_request, pinned, public, refused, tell};

const EXAMPLES: &str = "\
Examples:
  countersign-keys import-signature --request root.request.json --public alice.pub root.signed.minisig \\
    -o alice.root.sig.json
  countersign-keys import-signature --root 1.root.json --request node.request.json --public bob.pub \\
    --rebuilt MINE/verdict.dsse.json node.sig -o bob.node.sig.json

Takes .minisig files (minisign -S -l), signify's, 64 bytes of Ed25519, and ECDSA as DER or as PKCS#11
gives it. Bytes for the tools come from countersign-keys export-message. The rules are those of sign.";

/// Take in a signature that a stock tool made over a request's exact bytes
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The request that it answers
    #[arg(long, value_name = "REQUEST")]
    request: PathBuf,
    /// Of a renewal, which asks for many: this role
    #[arg(long)]
    role: Option<String>,
    /// The public key that it is by
    #[arg(long, value_name = "NAME.pub")]
    public: PathBuf,
    /// The root to judge from, in place of the one pinned beside the public key
    #[arg(long, value_name = "ROOT.json")]
    root: Option<PathBuf>,
    /// Your signed verdict about your own rebuild of the release
    #[arg(long, value_name = "VERDICT.dsse.json", conflicts_with = "without_rebuild")]
    rebuilt: Vec<PathBuf>,
    /// Your other key, which signs your verdicts
    #[arg(long, value_name = "NAME.pub", requires = "rebuilt")]
    rebuild_key: Vec<PathBuf>,
    /// The release was not rebuilt: needs --waiver
    #[arg(long, requires = "waiver")]
    without_rebuild: bool,
    /// The same key's signature over the waiver's bytes (export-message --waiver)
    #[arg(long, value_name = "RAW_FILE", requires = "without_rebuild")]
    waiver: Option<PathBuf>,
    /// Where the answer goes; standard output when absent
    #[arg(short, value_name = "SIG.json")]
    output: Option<PathBuf>,
    /// The signature
    #[arg(value_name = "RAW_FILE")]
    signature: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let request = one_request(Some(&self.request), self.role.as_deref())?;
        let pinned = pinned(self.root.as_deref(), Some(&self.public))?;
        let reviewed = review(&request, pinned.as_ref()).map_err(refused)?;
        tell(&reviewed.get().words(jiff::Timestamp::now()));
        let found = public(&self.public)?;
        let label = found.label_or_name(&self.public);
        let raw = |path: &Path| store::read(path, MAX_RAW).map_err(failed);
        let signature = raw(&self.signature)?;
        let waiver = self.waiver.as_deref().map(raw).transpose()?;
        let rebuilds = rebuilds(self.without_rebuild, &self.rebuilt, &self.rebuild_key)?;
        let signed =
            import(&reviewed, &found.key, &label, &signature, waiver.as_deref(), &rebuilds)
                .map_err(refused)?;
        answer(self.output.as_ref(), &signed.signature)?;
        tell(&format!("Accepted: signed by {label}."));
        if self.root.is_none() {
            keep_pin(signed.pin.as_ref(), Some(&self.public));
        }
        Ok(Exit::Done)
    }
}

/// What the keyholder shows for a release.
pub(crate) fn rebuilds(
    without: bool,
    rebuilt: &[PathBuf],
    keys: &[PathBuf],
) -> Result<Rebuilds, Failure> {
    if without {
        return Ok(Rebuilds::WithoutRebuild);
    }
    let read = |path: &PathBuf| store::read(path, limit::ATTESTATION).map_err(failed);
    let verdicts = rebuilt.iter().map(read).collect::<Result<_, _>>()?;
    let keyring = keys.iter().map(|path| Ok(public(path)?.key)).collect::<Result<_, Failure>>()?;
    Ok(Rebuilds::OfKeyring(verdicts, keyring))
}
