//! `attest`: an in-toto statement in this key's own name, signed into a DSSE envelope.

use std::path::PathBuf;

use countersign_console::{Exit, Failure};
use countersign_keys::sign::{attest, statement};
use countersign_keys::store;
use countersign_metadata::layout::limit;

use crate::input::{answer, failed, refused, tell};
use crate::secret::KeyArgs;

/// Sign a provenance statement or a rebuild verdict that speaks in your name
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  countersign-keys attest --key alice.key MINE/verdict.json -o MINE/verdict.dsse.json"
)]
pub(crate) struct Args {
    #[command(flatten)]
    key: KeyArgs,
    /// Where the envelope goes; standard output when absent
    #[arg(short, value_name = "OUT.dsse.json")]
    output: Option<PathBuf>,
    /// The statement; its verifier or builder must be this key
    #[arg(value_name = "STATEMENT.json")]
    statement: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let bytes = store::read(&self.statement, limit::ATTESTATION).map_err(failed)?;
        let reviewed = statement(&bytes).map_err(refused)?;
        tell(&reviewed.get().words(jiff::Timestamp::now()));
        let key = self.key.open()?;
        let envelope = attest(&bytes, &key).map_err(refused)?;
        answer(self.output.as_ref(), &envelope)?;
        tell(&format!("Signed as {}.", key.label()));
        Ok(Exit::Done)
    }
}
