//! `env`: the environment that is locked, by itself.

use std::path::PathBuf;

use countersign_builder::{export, prepare};
use countersign_console::{Exit, Failure, Out, Progress};
use serde_json::json;

use crate::build::Stores;

/// What is done with an environment
#[derive(clap::Subcommand, Debug)]
pub(super) enum Verb {
    /// Write the locked environment as a root tree and as an OCI image layout
    Export(Export),
}

impl Verb {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        match self {
            Self::Export(export) => export.run(out),
        }
    }
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  countersign-builder lock . && countersign-builder env export . -o /tmp/env
  buildah from oci:/tmp/env/oci          # or: chroot /tmp/env/root /bin/sh

Equal environments give equal images: the digest printed is that of the manifest.
`export` writes the source and its inputs too, ready to be built.")]
pub(super) struct Export {
    /// The directory that holds countersign.toml and countersign.lock
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where `root` and `oci` are written
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    stores: Stores,
}

impl Export {
    fn run(self, out: Out) -> Result<Exit, Failure> {
        let progress = Progress::spinner("preparing");
        let now = |step: &str| progress.now(step);
        let (cache, inputs) = self.stores.open(Vec::new())?;
        let environment = prepare::environment(&self.dir, &inputs, &cache, &now)
            .map_err(|e| crate::fail::prepare("nothing was exported", e))?;
        let written = export::environment(&environment, &self.output, &now)
            .map_err(|e| crate::fail::export(&e))?;
        drop(progress);
        let identity = environment.identity();
        out.say(format!("wrote {} and {}", written.root.display(), written.image.display()));
        out.say(format!("environment sha256:{} ({})", identity.sha256, identity.kind.name()));
        out.say(format!("image sha256:{} (of its manifest)", written.manifest));
        out.json(&json!({
            "root": written.root,
            "oci": written.image,
            "environment": identity,
            "manifest": written.manifest,
        }));
        Ok(Exit::Done)
    }
}
