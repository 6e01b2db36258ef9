//! `build`: what is locked, into an artifact and everything that a release needs.

use std::path::{Path, PathBuf};

use countersign_builder::build::{Built, Ceilings, Job, Stillness, Variation};
use countersign_builder::files::write_durably;
use countersign_builder::inputs::Inputs;
use countersign_builder::prepare::{self, Prepared};
use countersign_builder::{cache, patience, provenance, sbom};
use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_metadata::{Platform, Release};
use jiff::Timestamp;
use serde_json::json;

use crate::sign::Signing;

/// Build what is locked
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  countersign-builder build . -o built
  ls built
      # ARTIFACT.tar.zst release.json inputs/ provenance.json sbom.cdx.json build.log

A signal (^C) ends it with code 8 and leaves no scratch behind.
A second one ends it at once.")]
pub(super) struct Args {
    /// The directory that holds countersign.toml and countersign.lock
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the artifact and the rest are written
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Vary the surroundings: all, or a list like path,user,time
    #[arg(long, value_name = "WHAT", default_value = "none")]
    vary: Variation,
    #[command(flatten)]
    stores: Stores,
    #[command(flatten)]
    signing: Signing,
    /// Keep a failed build's tree as OUTPUT/kept.tar
    #[arg(long)]
    keep: bool,
}

/// Where inputs are looked for
#[derive(clap::Args, Debug)]
pub(super) struct Stores {
    /// Directories of inputs named by digest, tried first (a release's inputs/)
    #[arg(long, value_name = "DIR")]
    inputs: Vec<PathBuf>,
    /// How long a server is waited for a file, and apt, cargo, git, npm or pip for its work
    #[arg(long, value_name = "SECONDS", default_value_t = patience::DEFAULT)]
    fetch_seconds: u64,
}

impl Stores {
    /// The cache directory and the inputs; `more` are looked at before what was given.
    pub(super) fn open(&self, mut more: Vec<PathBuf>) -> Result<(PathBuf, Inputs), Failure> {
        let cache = cache_dir()?;
        patience::set(self.fetch_seconds);
        more.extend(self.inputs.clone());
        let inputs = Inputs::open(&cache, more).or_fail(Exit::Host, "cannot open the cache")?;
        Ok((cache, inputs))
    }
}

/// The cache directory.
pub(super) fn cache_dir() -> Result<PathBuf, Failure> {
    cache::dir().ok_or_else(|| {
        Failure::new(Exit::Host, "there is no place for a cache")
            .hint("set HOME or XDG_CACHE_HOME to an absolute path")
    })
}

/// Makes a directory for results; `old` ones of an earlier run go, so that what is there belongs together.
pub(super) fn make_output(dir: &Path, old: &[&str]) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).or_fail(Exit::Host, format!("cannot make {}", dir.display()))?;
    for path in old.iter().map(|name| dir.join(name)) {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let what = format!("cannot remove {}", path.display());
                return Err(Failure::caused(Exit::Host, what, &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Says on which points the environment is less than it could be.
pub(super) fn say_environment(prepared: &Prepared, out: Out) {
    if prepared.environment.is_whole_machine() {
        out.say("note: this machine has no dpkg; the environment is all of its /usr");
    }
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let identity = self.signing.identity()?;
        let progress = Progress::spinner("preparing");
        let now = |step: &str| progress.now(step);
        let started = Timestamp::now();
        let (cache, inputs) = self.stores.open(Vec::new())?;
        let prepared = prepare::own(&self.dir, Some(&self.output), &inputs, &cache, &now)
            .map_err(|e| crate::fail::prepare("nothing was built", e))?;
        let old =
            ["release.json", sbom::FILE, "provenance.json", "provenance.dsse.json", "kept.tar"];
        make_output(&self.output, &old)?;
        let spec = prepared.recipe.spec();
        let name = format!("{}-{}-{}.tar.zst", spec.product, spec.version, Platform::here());
        let artifact = self.output.join(name);
        let log = self.output.join("build.log");
        let kept = self.output.join("kept.tar");
        let job = Job {
            prepared: &prepared,
            variation: &self.vary,
            stillness: Stillness::AsWritten,
            artifact: &artifact,
            log: &log,
            keep: self.keep.then_some(&*kept),
            ceilings: Ceilings::default(),
        };
        let built = job.run(&now).map_err(|e| crate::fail::build(e, &log))?;
        now("writing the release");
        let release = self.write_release(&prepared, &built, &inputs)?;
        let statement = provenance::provenance(
            &prepared,
            &release,
            identity.as_ref(),
            started,
            Timestamp::now(),
        );
        let signed = self.signing.write(&statement, &self.output, "provenance")?;
        drop(progress);

        say_environment(&prepared, out);
        crate::show::cautions(&prepared, &built.not_varied, &built.native, out);
        out.say(format!("built {}", artifact.display()));
        out.say(format!("identity sha256:{} (of the canonical tar)", release.artifact.sha256));
        out.json(&json!({
            "artifact": artifact,
            "sha256": release.artifact.sha256,
            "length": release.artifact.length,
            "file": built.packed.file,
            "environment": release.environment,
            "varied": built.varied,
            "not-varied": built.not_varied,
            "native": built.native,
            "seconds": built.seconds,
            "provenance": signed.last(),
        }));
        Ok(Exit::Done)
    }

    /// Inputs first, `release.json` last: where it is, everything that it names is.
    fn write_release(
        &self,
        prepared: &Prepared,
        built: &Built,
        inputs: &Inputs,
    ) -> Result<Release, Failure> {
        let dir = self.output.join("inputs");
        make_output(&dir, &[])?;
        let all =
            prepared.release_inputs(inputs).or_fail(Exit::Host, "it is built, but not written")?;
        for input in &all {
            inputs.export(input, &dir).or_fail(Exit::Host, "cannot write inputs")?;
        }
        let release = provenance::release(prepared, built.packed.tar, all);
        let epoch = prepared.recipe.spec().build.source_date_epoch;
        let sbom = sbom::sbom(&release, prepared.environment.parts(), epoch);
        self.write(sbom::FILE, &sbom)?;
        self.write("release.json", &release)?;
        Ok(release)
    }

    fn write(&self, name: &str, value: &impl serde::Serialize) -> Result<(), Failure> {
        let path = self.output.join(name);
        let failed = || format!("cannot write {}", path.display());
        let text = serde_json::to_vec_pretty(value).or_fail(Exit::Host, failed())?;
        write_durably(&path, &text).or_fail(Exit::Host, failed())
    }
}
