//! `pack`: a directory into one canonical archive.

use std::path::PathBuf;

use countersign_builder::pack::{Plan, write_artifact};
use countersign_console::{Exit, Failure, Hint, Out, Progress};
use serde_json::json;

/// Pack a directory into one canonical archive: equal trees give equal bytes
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  countersign-builder pack dist -o dist.tar.zst
      # the identity is the digest of the tar; that of the file depends on zstd's version")]
pub(super) struct Args {
    /// The directory
    dir: PathBuf,
    /// The archive to write (.tar.zst)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Seconds since 1970: the time of everything in it
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", default_value_t = 0)]
    epoch: u64,
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let _spinner = Progress::spinner("packing");
        let failed = || format!("cannot pack {}", self.dir.display());
        let plan = Plan::of_directory(&self.dir).or_fail(Exit::Input, failed())?;
        let packed =
            write_artifact(&plan, self.epoch, &self.output).or_fail(Exit::Input, failed())?;
        out.say(format!("packed {} members into {}", plan.entries().len(), self.output.display()));
        out.say(format!("identity sha256:{} (of the canonical tar)", packed.tar.sha256));
        out.json(&json!({
            "members": plan.entries().len(),
            "sha256": packed.tar.sha256,
            "length": packed.tar.length,
            "file": packed.file,
        }));
        Ok(Exit::Done)
    }
}
