//! `rebuild`: from a release alone to a verdict.

use std::path::PathBuf;

use countersign_builder::build::{Ceilings, Job, Stillness, Variation, feasible};
use countersign_builder::compare::{self, Comparison};
use countersign_builder::http::Repository;
use countersign_builder::rebuild::{Published, Rebuilt, judge};
use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_metadata::layout::limit;
use countersign_metadata::statement::{Outcome, unsigned_verdict, verdict};
use countersign_metadata::trust::Trust;
use countersign_metadata::{Platform, Product, Version};
use jiff::Timestamp;
use serde_json::json;

use crate::build::{Stores, make_output, say_environment};
use crate::sign::Signing;

/// Rebuild a release and give a verdict
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The verdict is written to OUTPUT/verdict.json where an identity is given, and signed to
OUTPUT/verdict.dsse.json where a signer is. Exit code 0: the same bytes came out.

Examples:
  countersign-builder rebuild --release repo/drafts/0002-v1.0.0 -o mine \\
      --identity-file me.pub \\
      --signer 'countersign-keys sign --yes --key me.key'
  countersign-builder rebuild --repository https://releases.example.org --root root.json \\
      --product examplenode --version 2.0.0 -o mine --vary all")]
pub(super) struct Args {
    /// A builder's output directory, or a draft of countersign-metadata
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repository", "root", "product", "version"])]
    release: Option<PathBuf>,
    /// A published repository: its address or directory
    #[arg(long, value_name = "URL", requires_all = ["root", "product", "version"], required_unless_present = "release")]
    repository: Option<String>,
    /// The repository's root file that you trust
    #[arg(long, value_name = "ROOT.json")]
    root: Option<PathBuf>,
    /// Which product
    #[arg(long)]
    product: Option<Product>,
    /// Which version
    #[arg(long)]
    version: Option<Version>,
    /// Which platform, where it is not this machine's
    #[arg(long)]
    platform: Option<Platform>,
    /// Where the rebuilt artifact and the verdict are written
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Vary the surroundings: all, or a list like path,user,time
    #[arg(long, value_name = "WHAT", default_value = "none")]
    vary: Variation,
    /// Rebuild although this machine's environment is not the release's; the verdict says so
    #[arg(long)]
    other_environment: bool,
    #[command(flatten)]
    stores: Stores,
    #[command(flatten)]
    signing: Signing,
    /// Write the verdict by nobody yet: `countersign-keyless sign` gives it the name of its certificate
    #[arg(long, conflicts_with_all = ["identity", "identity_file", "signer"])]
    keyless: bool,
    /// Keep a failed build's tree as OUTPUT/kept.tar
    #[arg(long)]
    keep: bool,
    /// Most MiB of memory, whatever the recipe asks for [default: half of this machine's]
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Most MiB of scratch space, whatever the recipe asks for
    #[arg(long, value_name = "MIB")]
    scratch: Option<u64>,
    /// Most seconds, whatever the recipe asks for
    #[arg(long, value_name = "SECONDS")]
    wall: Option<u64>,
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let identity = self.signing.identity()?;
        let progress = Progress::spinner("reading the release");
        let now = |step: &str| progress.now(step);
        let log = self.output.join("build.log");
        let published = self.published(&log)?;
        let release = published.release();
        let more = self.release.iter().map(|dir| dir.join("inputs")).collect();
        let (cache, inputs) = self.stores.open(more)?;
        let prepared = published
            .prepare(&inputs, &cache, self.other_environment, &now)
            .map_err(|e| crate::fail::rebuild(e, &log))?;
        make_output(&self.output, &["verdict.json", "verdict.dsse.json", "kept.tar"])?;
        let artifact = self.output.join(release.file_name());
        let kept = self.output.join("kept.tar");
        let (varied, not_varied) = feasible(&prepared, &self.vary);
        let job = Job {
            prepared: &prepared,
            variation: &varied,
            stillness: Stillness::AsWritten,
            artifact: &artifact,
            log: &log,
            keep: self.keep.then_some(&*kept),
            ceilings: self.ceilings(),
        };
        let rebuilt = judge(release, &job, &now).map_err(|e| crate::fail::rebuild(e, &log))?;
        let comparison = match rebuilt.outcome {
            Outcome::Divergence { .. } => self.explain(&published, &artifact),
            _ => None,
        };
        let mut written = Vec::new();
        if identity.is_some() || self.keyless {
            let Rebuilt { outcome, environment, .. } = &rebuilt;
            let (now, environment, outcome) =
                (Timestamp::now(), environment.clone(), outcome.clone());
            let statement = match &identity {
                Some(identity) => verdict(release, identity, now, environment, outcome),
                None => unsigned_verdict(release, now, environment, outcome),
            };
            written = self.signing.write(&statement, &self.output, "verdict")?;
        }
        drop(progress);
        say_environment(&prepared, out);
        let native = rebuilt.built.as_ref().map_or(&[][..], |built| &built.native);
        crate::show::cautions(&prepared, &not_varied, native, out);
        self.say(&published, &rebuilt, &varied, comparison.as_ref(), out);
        if let Some(path) = written.last() {
            out.say(format!("the verdict is {}", path.display()));
        } else {
            out.say("no verdict was written: it needs to say who it is by (--identity-file, or --keyless)");
        }
        out.json(&json!({
            "product": release.product,
            "version": release.version,
            "platform": release.platform,
            "outcome": rebuilt.outcome,
            "published": release.artifact.sha256,
            "rebuilt": rebuilt.built.as_ref().map(|built| built.packed.tar.sha256),
            "environment": rebuilt.environment,
            "same-environment": rebuilt.environment == release.environment,
            "varied": varied,
            "not-varied": not_varied,
            "signers": published.signers(),
            "comparison": comparison,
            "written": written,
            "log": log,
        }));
        Ok(if rebuilt.outcome == Outcome::Reproduced { Exit::Done } else { Exit::Verdict })
    }

    fn ceilings(&self) -> Ceilings {
        let of_machine = match self.memory {
            Some(_) => Ceilings::default(),
            None => Ceilings::of_machine(),
        };
        Ceilings {
            memory_mib: self.memory.or(of_machine.memory_mib),
            scratch_mib: self.scratch,
            wall_seconds: self.wall,
        }
    }

    fn published(&self, log: &std::path::Path) -> Result<Published, Failure> {
        let told = |e| crate::fail::rebuild(e, log);
        if let Some(dir) = &self.release {
            return Published::in_directory(dir).map_err(told);
        }
        let (Some(address), Some(root), Some(product), Some(version)) =
            (&self.repository, &self.root, &self.product, &self.version)
        else {
            return Err(Failure::new(
                Exit::Usage,
                "a rebuild needs --release, or --repository, --root, --product and --version",
            ));
        };
        let root = countersign_builder::files::read_limited(root, limit::ROOT)
            .or_fail(Exit::Input, format!("cannot read the root file {}", root.display()))
            .map_err(|failure| failure.hint(crate::fail::ROOT))?;
        // A root that is none is a wrong file, not a repository that lies.
        let trust = Trust::from_root(&root).map_err(|error| {
            Failure::caused(Exit::Input, "no verdict: --root is no root file to be trusted", &error)
                .hint(crate::fail::ROOT)
        })?;
        drop(trust);
        let repository = Repository::open(address).map_err(|e| told(e.into()))?;
        let platform = self.platform.clone().unwrap_or_else(Platform::here);
        let wanted = (product, version, &platform);
        Published::in_repository(repository, &root, wanted, Timestamp::now()).map_err(told)
    }

    /// What differs, where the published artifact can be had; the verdict stands without it.
    fn explain(&self, published: &Published, artifact: &std::path::Path) -> Option<Comparison> {
        let theirs = self.output.join(format!("published-{}", published.release().file_name()));
        published.artifact(&theirs).ok()?;
        compare::compare(&theirs, artifact).ok()
    }

    fn say(
        &self,
        published: &Published,
        rebuilt: &Rebuilt,
        varied: &Variation,
        comparison: Option<&Comparison>,
        out: Out,
    ) {
        let release = published.release();
        let name = format!("{} {} for {}", release.product, release.version, release.platform);
        let varied = match varied.is_none() {
            true => String::new(),
            false => format!(", built under another {}", varied.to_string().replace(',', ", ")),
        };
        let signers = published.signers();
        if !signers.is_empty() {
            out.say(format!("{name} is signed by {}", signers.join(", ")));
        }
        match &rebuilt.outcome {
            Outcome::Reproduced => {
                out.say(format!("REPRODUCED {name}: sha256:{}{varied}", release.artifact.sha256))
            }
            Outcome::Divergence { sha256 } => {
                out.say(format!("DIVERGENCE in {name}{varied}"));
                out.say(format!("  published sha256:{}", release.artifact.sha256));
                out.say(format!("  rebuilt   sha256:{sha256}"));
                if let Some(comparison) = comparison {
                    crate::show::comparison(comparison, out);
                }
            }
            Outcome::DidNotBuild { reason } => out.say(format!("DID NOT BUILD {name}: {reason}")),
        }
        if rebuilt.environment != release.environment {
            out.say("note: it was rebuilt in another environment than the release's");
        }
    }
}
