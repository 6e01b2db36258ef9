//! `log`: a managed key's signed statement gets its time and its place in a log. No secret is needed.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_keyless::{Instance, service};
use countersign_metadata::dsse::Envelope;
use countersign_metadata::sigstore::{Signed, limit};
use serde_json::json;

use crate::{output, tell};

/// Enter what a P-256 key has signed (`countersign-keys attest`) in the log; it becomes public, for ever
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The instance's configuration
    #[arg(long, value_name = "INSTANCE.toml")]
    instance: PathBuf,
    /// The release.json that the statement must be about
    #[arg(long, value_name = "RELEASE.json")]
    release: Option<PathBuf>,
    /// Where the bundle goes
    #[arg(short, value_name = "OUT.sigstore.json")]
    output: PathBuf,
    /// The envelope
    #[arg(value_name = "STATEMENT.dsse.json")]
    envelope: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let instance = Instance::load(&self.instance).map_err(|e| tell::instance(&e))?;
        let bytes = output::read(&self.envelope, limit::BUNDLE)?;
        let what = || format!("{} cannot be entered in a log", self.envelope.display());
        let envelope: Envelope = serde_json::from_slice(&bytes).or_fail(Exit::Input, what())?;
        let release = output::release(self.release.as_deref())?;
        let signed = Signed::with_key(&envelope, release.as_ref())
            .map_err(|e| tell::statement(what(), &e))?;
        let progress = Progress::spinner("entering it in the log");
        let bundle = enter(&instance, signed, &progress)?;
        drop(progress);
        output::write(&self.output, &bundle)?;
        out.say(format!("Entered in the log {}.", instance.rekor));
        out.say(format!("The bundle is {}", self.output.display()));
        out.json(&json!({ "log": instance.rekor.as_str(), "bundle": self.output }));
        Ok(Exit::Done)
    }
}

/// The signature's time and entry, and all of it verified.
pub(crate) fn enter(
    instance: &Instance,
    mut signed: Signed,
    progress: &Progress,
) -> Result<Vec<u8>, Failure> {
    if let Some(authority) = &instance.timestamp {
        progress.now("asking for the time");
        let answer = service::stamp(authority, signed.stamp_request());
        signed = signed
            .stamped(&answer.map_err(|e| tell::service(&e))?)
            .map_err(|e| tell::answer("the timestamp authority", &e))?;
    }
    progress.now("entering it in the log");
    let answer = service::post(&instance.rekor, &signed.request(instance.speaks))
        .map_err(|e| tell::service(&e))?;
    signed
        .logged(instance.speaks, &answer, &instance.root)
        .map_err(|e| tell::answer("the instance", &e))
}
