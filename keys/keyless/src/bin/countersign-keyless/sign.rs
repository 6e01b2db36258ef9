//! `sign`: a statement in the name of whoever the identity token names.

use std::os::fd::RawFd;
use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_keyless::{Ephemeral, Instance, Token, service};
use countersign_metadata::dsse::{IN_TOTO, pae};
use countersign_metadata::sigstore::{Wish, limit};
use serde_json::json;

use crate::{log, output, tell};

/// Sign a rebuild verdict or provenance keyless; name and statement become public in the log, for ever
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The instance's configuration
    #[arg(long, value_name = "INSTANCE.toml")]
    instance: PathBuf,
    /// File with the OIDC identity token
    #[arg(long, value_name = "FILE", required_unless_present = "token_fd")]
    token_file: Option<PathBuf>,
    /// Open descriptor with the OIDC identity token
    #[arg(long, value_name = "N", conflicts_with = "token_file")]
    token_fd: Option<RawFd>,
    /// The release.json that the statement must be about
    #[arg(long, value_name = "RELEASE.json")]
    release: Option<PathBuf>,
    /// Where the bundle goes
    #[arg(short, value_name = "OUT.sigstore.json")]
    output: PathBuf,
    /// The statement, by nobody yet (`rebuild --keyless`, `build` without an identity) or by this very identity
    #[arg(value_name = "STATEMENT.json")]
    statement: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let instance = Instance::load(&self.instance).map_err(|e| tell::instance(&e))?;
        let fulcio = instance.fulcio.as_ref().ok_or_else(|| {
            let sentence = format!("{} names no certificate authority", self.instance.display());
            Failure::new(Exit::Input, sentence).hint("add fulcio = \"https://…\"")
        })?;
        let statement = output::read(&self.statement, limit::BUNDLE)?;
        let release = output::release(self.release.as_deref())?;
        let token = match (&self.token_file, self.token_fd) {
            (Some(file), _) => Token::from_file(file),
            (None, fd) => Token::from_descriptor(fd.unwrap_or_default()),
        };
        let token = token.or_fail(Exit::Secret, "there is no identity token")?;

        let progress = Progress::spinner("asking for a certificate");
        let key = Ephemeral::new().or_fail(Exit::Host, "cannot sign")?;
        let signed = |message: &[u8]| key.sign(message).or_fail(Exit::Host, "cannot sign");
        let wish = Wish::new(token.expose(), key.public())
            .or_fail(Exit::Secret, "the identity token cannot be used")?;
        drop(token);
        let proof = signed(wish.challenge())?;
        let answer = service::post(fulcio, &wish.request(&proof)).map_err(|e| tell::service(&e))?;
        let certified =
            wish.certified(&answer).map_err(|e| tell::answer("the certificate authority", &e))?;
        let name = certified.signer().name();
        let what = || format!("{} cannot be signed as {name}", self.statement.display());
        let payload = certified.in_own_name(&statement).map_err(|e| tell::statement(what(), &e))?;
        let signature = signed(&pae(IN_TOTO, &payload))?;
        let signed = certified
            .signed(&payload, &signature, release.as_ref())
            .map_err(|e| tell::statement(what(), &e))?;
        let bundle = log::enter(&instance, signed, &progress)?;
        drop(progress);
        output::write(&self.output, &bundle)?;
        out.say(format!("Signed as {name}, and entered in the log {}.", instance.rekor));
        out.say(format!("The bundle is {}", self.output.display()));
        out.json(&json!({ "by": name, "log": instance.rekor.as_str(), "bundle": self.output }));
        Ok(Exit::Done)
    }
}
