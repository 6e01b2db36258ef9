//! Who signs a statement, and how: flags of the verbs that make one.

use std::path::{Path, PathBuf};

use countersign_builder::files::write_durably;
use countersign_console::{Exit, Failure, Hint};
use countersign_metadata::PublicKey;
use countersign_metadata::statement::Statement;
use serde::Serialize;

/// Who signs, and how
#[derive(clap::Args, Debug)]
pub(super) struct Signing {
    /// The public key that the statement is by (RW…)
    #[arg(long, value_name = "RW…", conflicts_with = "identity_file")]
    identity: Option<PublicKey>,
    /// The same, in a file
    #[arg(long, value_name = "KEY.pub")]
    identity_file: Option<PathBuf>,
    /// The command that signs: a request on its standard input, a signature on its standard output
    #[arg(long, value_name = "COMMAND")]
    signer: Option<String>,
}

impl Signing {
    /// The key that statements are by, if one was given. A statement names who it is by, so a signer needs one.
    pub(super) fn identity(&self) -> Result<Option<PublicKey>, Failure> {
        let Some(path) = &self.identity_file else {
            return match (self.identity, &self.signer) {
                (None, Some(_)) => Err(Failure::new(Exit::Usage, "--signer needs an identity")
                    .hint("give the signer's public key with --identity-file")),
                (identity, _) => Ok(identity),
            };
        };
        let what = format!("cannot read the public key {}", path.display());
        let bytes = countersign_builder::files::read_limited(path, 4096)
            .or_fail(Exit::Input, &what)
            .map_err(|failure| failure.hint(crate::fail::IDENTITY))?;
        let text = String::from_utf8_lossy(&bytes);
        PublicKey::from_file_text(&text)
            .map(Some)
            .or_fail(Exit::Input, &what)
            .map_err(|failure| failure.hint(crate::fail::IDENTITY))
    }

    /// Writes `DIR/NAME.json`, and `DIR/NAME.dsse.json` where there is a signer. Returns what was written.
    pub(super) fn write<P: Serialize>(
        &self,
        statement: &Statement<P>,
        dir: &Path,
        name: &str,
    ) -> Result<Vec<PathBuf>, Failure> {
        let bytes = serde_json::to_vec_pretty(statement)
            .or_fail(Exit::Host, "cannot write the statement")?;
        let path = dir.join(format!("{name}.json"));
        write_durably(&path, &bytes)
            .or_fail(Exit::Host, format!("cannot write {}", path.display()))?;
        let mut written = vec![path];
        if let (Some(command), Some(identity)) = (&self.signer, self.identity()?) {
            let envelope = countersign_builder::signer::sign(command, &bytes, &identity)
                .map_err(|e| super::fail::signer(&e))?;
            let bytes = serde_json::to_vec_pretty(&envelope)
                .or_fail(Exit::Host, "cannot write the envelope")?;
            let path = dir.join(format!("{name}.dsse.json"));
            write_durably(&path, &bytes)
                .or_fail(Exit::Host, format!("cannot write {}", path.display()))?;
            written.push(path);
        }
        Ok(written)
    }
}
