//! `check`: do the bytes depend on the machine, and on what of it?

use std::path::PathBuf;

use countersign_builder::build::Variation;
use countersign_builder::check::{Checked, check};
use countersign_builder::prepare;
use countersign_console::{Exit, Failure, Hint, Out, Progress};

use crate::build::{Stores, make_output, say_environment};

/// Build twice and name what the bytes depend on
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Variations: path, user, hostname, domain, time, cpus, timezone, locale, environment, umask, home, aslr

Examples:
  countersign-builder check .                     everything
  countersign-builder check . --vary path,time    these two
  countersign-builder check . -o looked-at        keep the artifacts and logs")]
pub(super) struct Args {
    /// The directory that holds countersign.toml and countersign.lock
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// What to vary: all, or a list like path,user,time
    #[arg(long, value_name = "WHAT", default_value = "all")]
    vary: Variation,
    /// Keep the artifacts and logs there
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    stores: Stores,
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        if self.vary.is_none() {
            return Err(Failure::new(Exit::Usage, "there is nothing to vary"));
        }
        let progress = Progress::spinner("preparing");
        let now = |step: &str| progress.now(step);
        let (cache, inputs) = self.stores.open(Vec::new())?;
        let prepared = prepare::own(&self.dir, self.output.as_deref(), &inputs, &cache, &now)
            .map_err(|e| crate::fail::prepare("nothing was checked", e))?;
        let scratch = tempfile::Builder::new()
            .prefix("countersign-check-")
            .tempdir()
            .or_fail(Exit::Host, "cannot make a scratch directory")?;
        let dir = match &self.output {
            Some(dir) => {
                make_output(dir, &[])?;
                dir.as_path()
            }
            None => scratch.path(),
        };
        let checked = match check(&prepared, &self.vary, dir, &now) {
            Ok(checked) => checked,
            Err(error) => {
                let failure = crate::fail::check(error, dir);
                // The log that the hint names must outlive this process.
                let _kept = scratch.keep();
                return Err(failure);
            }
        };
        drop(progress);
        say_environment(&prepared, out);
        say(&checked, out);
        out.json(&checked);
        Ok(if matches!(checked, Checked::Equal { .. }) { Exit::Done } else { Exit::Verdict })
    }
}

fn say(checked: &Checked, out: Out) {
    match checked {
        Checked::Equal { sha256, varied } => {
            let varied: Vec<&str> = varied.iter().map(|kind| kind.name()).collect();
            out.say(format!("EQUAL sha256:{sha256}"));
            out.say(format!("the bytes do not depend on {}", varied.join(", ")));
        }
        Checked::Unstable { comparison } => {
            out.say("DIFFERENT even without a variation: something is random, or a race");
            crate::show::comparison(comparison, out);
        }
        Checked::Depends { guilty, comparison } => {
            if guilty.is_empty() {
                out.say("DIFFERENT, but only when several things vary together");
            }
            for one in guilty {
                out.say(format!("DIFFERENT: the bytes depend on {}", one.kind));
                if let Some(reason) = &one.did_not_build {
                    out.say(format!("  it did not build: {reason}"));
                }
                if let Some(comparison) = &one.comparison {
                    crate::show::comparison(comparison, out);
                }
                out.say(format!("  usual cure: {}", one.cure));
            }
            if let (true, Some(comparison)) = (guilty.is_empty(), comparison) {
                crate::show::comparison(comparison, out);
            }
        }
    }
}
