//! The command-line client that the public suite theupdateframework/tuf-conformance drives, on the updater's own parts.
//!
//! ```text
//! METADATA-DIR/ROLE.json        what is trusted, exactly as downloaded (trust_store::TrustDir)
//! TARGET-DIR/PATH-AS-SEGMENT    a verified target
//! ```
//!
//! The law is `metadata::trust` as a node uses it, but for two things that belong to other people's repositories: RSA
//! keys count too, and any target may be looked up by its path.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_metadata::layout::{self, limit};
use countersign_metadata::trust::{FoundTarget, KeyKinds, Source, SourceError, Trust};
use countersign_updater::durable;
use countersign_updater::net::{Mirror, Repository};
use countersign_updater::trust_store::{TrustDir, chain};
use jiff::Timestamp;

type Failure = Box<dyn std::error::Error>;

/// Longest target that is held in memory, in bytes.
const LONGEST: u64 = 256 << 20;

/// A TUF client as tuf-conformance's CLIENT-CLI.md describes it.
#[derive(Parser)]
struct Args {
    /// Where trusted metadata is kept
    #[arg(long, value_name = "DIR")]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is served
    #[arg(long, value_name = "URL")]
    metadata_url: Option<Repository>,
    /// The path of a target; may be repeated
    #[arg(long, value_name = "PATH")]
    target_name: Vec<String>,
    /// Where the repository's targets are served
    #[arg(long, value_name = "URL")]
    target_base_url: Option<Repository>,
    /// Where targets are put
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Begin from a trusted root
    Init {
        /// The root's file
        root: PathBuf,
    },
    /// Bring the top-level metadata up to date
    Refresh,
    /// Refresh, then download targets in the order of the arguments
    Download,
}

fn main() -> ExitCode {
    let Err(failure) = run(&Args::parse()) else { return ExitCode::SUCCESS };
    let _nobody_reads_it = writeln!(io::stderr(), "error: {}", chain(failure.as_ref()));
    ExitCode::FAILURE
}

fn run(args: &Args) -> Result<(), Failure> {
    let dir = TrustDir::new(&args.metadata_dir);
    let root_file = dir.path().join(layout::kept("root"));
    if let Command::Init { root } = &args.command {
        let bytes = durable::read(root, limit::ROOT)?.ok_or("there is no such root file")?;
        Trust::from_root_with(&bytes, KeyKinds::AlsoRsa)?;
        return Ok(durable::write(&root_file, &bytes)?);
    }
    let root = durable::read(&root_file, limit::ROOT)?.ok_or("init comes first")?;
    let url = args.metadata_url.as_ref().ok_or("--metadata-url is missing")?;
    let mirror = Mirror::new(url)?;
    let mut client = Client {
        trust: Trust::restore_with(&root, &dir.read()?, KeyKinds::AlsoRsa, Timestamp::now())?,
        source: Metadata(&mirror),
        dir,
    };
    client.refresh()?;
    if matches!(args.command, Command::Download) {
        let url = args.target_base_url.as_ref().ok_or("--target-base-url is missing")?;
        let target_dir = args.target_dir.as_ref().ok_or("--target-dir is missing")?;
        let mirror = Mirror::new(url)?;
        for path in &args.target_name {
            let target = client.find(path)?;
            download(&mirror, &target, target_dir)?;
        }
    }
    Ok(())
}

struct Client<'a> {
    trust: Trust,
    source: Metadata<'a>,
    dir: TrustDir,
}

impl Client<'_> {
    fn refresh(&mut self) -> Result<(), Failure> {
        let answer = self.trust.refresh(Timestamp::now(), &mut self.source);
        self.dir.persist(&self.trust.kept())?;
        Ok(answer?)
    }

    fn find(&mut self, path: &str) -> Result<FoundTarget, Failure> {
        let found = self.trust.target(path, Timestamp::now(), &mut self.source);
        self.dir.persist(&self.trust.kept())?;
        found?.ok_or_else(|| format!("the repository has no target {path:?}").into())
    }
}

fn download(mirror: &Mirror, target: &FoundTarget, dir: &Path) -> Result<(), Failure> {
    let file = dir.join(layout::segment(target.path()));
    if target.length() > LONGEST {
        return Err(format!("{} is longer than {LONGEST} bytes", target.path()).into());
    }
    // Of a file that is there already, only its being another one counts.
    let there = durable::read(&file, target.length()).ok().flatten();
    if there.is_some_and(|bytes| target.check(&bytes).is_ok()) {
        return Ok(());
    }
    let served_at = target.served_at();
    let path = served_at.strip_prefix("targets/").unwrap_or(&served_at);
    let bytes = mirror.get(path, target.length())?.ok_or_else(|| format!("there is no {path}"))?;
    target.check(&bytes)?;
    Ok(durable::write(&file, &bytes)?)
}

/// The suite names the folder of the metadata where our repositories have one address for everything.
struct Metadata<'a>(&'a Mirror);

impl Source for Metadata<'_> {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let mut mirror = self.0;
        mirror.fetch(path.strip_prefix("metadata/").unwrap_or(path), max_bytes)
    }
}
