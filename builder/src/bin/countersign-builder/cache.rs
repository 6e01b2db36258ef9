//! `cache`: what is kept to be used again.

use std::path::Path;
use std::time::Duration;

use countersign_builder::cache::{self, CacheError, Kept, Kind};
use countersign_console::{Exit, Failure, Out, Progress};
use serde_json::json;

/// What is done with the cache
#[derive(clap::Subcommand, Debug)]
pub(super) enum Verb {
    /// List locked inputs and environments that are kept, and when a run last used them
    List,
    /// Hash everything anew, and name what is damaged
    Verify,
    /// Remove what no run has used for some time
    Prune(Prune),
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  countersign-builder cache prune --days 0 --dry-run     all that there is

What is removed is got again when a lock names it: from the registries, or from the release that it is stored with.
Nothing is removed while another run uses the cache.")]
pub(super) struct Prune {
    /// For how many days nobody has used it; 0: everything
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u64,
    /// Say what would be removed, and leave it
    #[arg(long)]
    dry_run: bool,
}

impl Verb {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let dir = crate::build::cache_dir()?;
        match self {
            Self::List => {
                let all = cache::list(&dir).map_err(|error| fail(&error))?;
                show(out, &all);
                out.say(format!("in all {} MiB in {}", mib(sum(&all)), dir.display()));
                out.json(&all);
                Ok(Exit::Done)
            }
            Self::Verify => verify(&dir, out),
            Self::Prune(prune) => prune.run(&dir, out),
        }
    }
}

fn verify(dir: &Path, out: Out) -> Result<Exit, Failure> {
    let progress = Progress::spinner("hashing");
    let damaged = cache::verify(dir, &|step| progress.now(step)).map_err(|error| fail(&error))?;
    drop(progress);
    out.json(&json!({ "damaged": damaged }));
    if damaged.is_empty() {
        out.say("everything is what its name says");
        return Ok(Exit::Done);
    }
    for kept in &damaged {
        out.say(format!("damaged: {} {}", kept.kind.name(), kept.sha256));
    }
    out.say("a run that needs one of them gets it anew");
    Ok(Exit::Verdict)
}

impl Prune {
    fn run(&self, dir: &Path, out: Out) -> Result<Exit, Failure> {
        let unused = Duration::from_secs(self.days.saturating_mul(86_400));
        let progress = Progress::spinner("removing");
        let gone = cache::prune(dir, unused, self.dry_run).map_err(|error| fail(&error))?;
        drop(progress);
        show(out, &gone);
        let did = if self.dry_run { "would be removed" } else { "removed" };
        out.say(format!("{} MiB {did}", mib(sum(&gone))));
        out.json(&json!({ "removed": gone, "dry-run": self.dry_run }));
        Ok(Exit::Done)
    }
}

/// People look at some dozen environments, and at a thousand inputs only by their sum.
fn show(out: Out, all: &[Kept]) {
    let (inputs, trees): (Vec<Kept>, Vec<Kept>) =
        all.iter().cloned().partition(|kept| kept.kind == Kind::Input);
    if let Some(oldest) = inputs.first() {
        let (count, mib, ago) = (inputs.len(), mib(sum(&inputs)), ago(oldest.unused_seconds));
        out.say(format!("inputs: {count} of {mib} MiB, one of them last used {ago}"));
    }
    if !trees.is_empty() {
        out.table(
            ["environment", "MiB", "last used"],
            trees
                .iter()
                .map(|kept| [kept.sha256.to_string(), mib(kept.bytes), ago(kept.unused_seconds)]),
        );
    }
}

fn sum(all: &[Kept]) -> u64 {
    all.iter().map(|kept| kept.bytes).sum()
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn ago(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) => "now".to_owned(),
        (0, 0, minutes) => format!("{minutes} min ago"),
        (0, hours, _) => format!("{hours} h ago"),
        (days, ..) => format!("{days} d ago"),
    }
}

fn fail(error: &CacheError) -> Failure {
    match error {
        CacheError::Busy => Failure::new(Exit::Busy, "another run uses the cache")
            .hint("nothing was removed: try again when it has ended"),
        CacheError::Io { .. } => Failure::caused(Exit::Host, "the cache cannot be used", error),
    }
}
