//! `sign`: show, ask, sign. Also the signer command of the other programs: request in, signature out.

use std::path::PathBuf;

use countersign_console::{Exit, Failure};
use countersign_keys::pin::PinnedRoot;
use countersign_keys::review::{Reviewed, review_each};
use countersign_keys::sign::{Signed, sign};
use countersign_keys::store::Overwrite;
use countersign_metadata::request::SigningRequest;

use crate::import_signature::rebuilds;
use crate::input::{answer, confirmed, failed, keep_pin, pinned, refused, request, tell};
use crate::secret::KeyArgs;

const EXAMPLES: &str = "\
Examples:
  countersign-keys sign --key alice.key root.request.json -o alice.root.sig.json
  countersign-keys sign --key alice.key --rebuilt MINE/verdict.dsse.json node.request.json
  countersign-keys sign --key alice.key --rebuilt MINE/verdict.dsse.json --rebuild-key alice-rebuilds.pub \\
    node.request.json
  countersign-keys sign --key ssh-agent:~/.ssh/id_ed25519.pub --root 1.root.json node.request.json
  countersign-keys sign --key 'pkcs11:token=Alice;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so' \\
    --root 1.root.json node.request.json
  countersign-keys sign --yes --key online.key --root 1.root.json < timestamp.request.json

The review goes to standard error, the signature (JSON) to standard output or OUT.
The root to judge from is the one pinned beside the key (NAME.root.json) unless --root says
otherwise; signing a first root pins it. The key must be one of the role's, and the version the
next one. As a signer command: --signer 'countersign-keys sign --yes --key online.key'.";

/// Sign a request, after showing it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    key: KeyArgs,
    /// The root to judge from, in place of the one pinned beside the key
    #[arg(long, value_name = "ROOT.json")]
    root: Option<PathBuf>,
    /// For a key that signs unattended: where no root is pinned yet, pin the first one that a request carries
    #[arg(long, conflicts_with = "root")]
    trust_first_root: bool,
    /// Your signed verdict about your own rebuild of the release
    #[arg(long, value_name = "VERDICT.dsse.json", conflicts_with = "without_rebuild")]
    rebuilt: Vec<PathBuf>,
    /// Your other key, which signs your verdicts
    #[arg(long, value_name = "NAME.pub", requires = "rebuilt")]
    rebuild_key: Vec<PathBuf>,
    /// Sign a release that you have not rebuilt; a second signature says so
    #[arg(long)]
    without_rebuild: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Where the signature goes; standard output when absent
    #[arg(short, value_name = "OUT")]
    output: Option<PathBuf>,
    /// The request; standard input when absent or `-`
    request: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let request = request(self.request.as_deref())?;
        let pinned = self.judge(&request)?;
        let reviewed = review_each(&request, pinned.as_ref()).map_err(refused)?;
        tell(&reviewed.words(jiff::Timestamp::now()));
        let rebuilds = rebuilds(self.without_rebuild, &self.rebuilt, &self.rebuild_key)?;
        if !self.yes && !confirmed("Sign this?")? {
            return Err(Failure::new(Exit::Verdict, "you did not say yes: nothing was signed"));
        }
        let key = self.key.open()?;
        let each = reviewed.each();
        let signed: Result<Vec<_>, _> = each.iter().map(|r| sign(r, &key, &rebuilds)).collect();
        let signed = signed.map_err(refused)?;
        let signatures = signed.iter().map(|one| one.signature.clone()).collect();
        let made = reviewed.answer(signatures);
        answer(self.output.as_ref(), &made)?;
        if let (Some(reviewed), Some(signed)) = (each.first(), signed.first()) {
            self.tell_rebuild(reviewed, signed);
            if self.root.is_none() {
                keep_pin(signed.pin.as_ref(), self.key.beside());
            }
        }
        Ok(Exit::Done)
    }

    fn judge(&self, request: &SigningRequest) -> Result<Option<PinnedRoot>, Failure> {
        let pinned = pinned(self.root.as_deref(), self.key.beside())?;
        if pinned.is_some() || !self.trust_first_root {
            return Ok(pinned);
        }
        let first = PinnedRoot::trust_first(request).map_err(refused)?;
        let beside = self.key.beside().ok_or_else(|| {
            Failure::new(Exit::Usage, "there is no file to pin the first root beside").hint(
                "name the key's public half with --public, or the root that you trust with --root",
            )
        })?;
        let path = first.save(beside, Overwrite::Never).map_err(failed)?;
        tell(&format!("Pinned the first root seen: {}", path.display()));
        Ok(Some(first))
    }

    fn tell_rebuild(&self, reviewed: &Reviewed, signed: &Signed) {
        match (&signed.rebuilt, reviewed.releases()) {
            (Some(verdict), _) => {
                tell(&format!("Signed, resting on your own rebuild of {}.", verdict.at()));
                if signed.signature.vouched.is_some() {
                    tell(
                        "Its verdict is by another key, and yours has signed that it is your own.",
                    );
                }
            }
            (None, []) => {
                if !self.rebuilt.is_empty() {
                    tell("The request adds no release: your verdict was not needed.");
                }
                tell("Signed.");
            }
            (None, _) => tell("Signed WITHOUT a rebuild, and signed that too."),
        }
    }
}
