//! `check`: do the bytes depend on the machine, and on what of it?

use std::path::{Path, PathBuf};

use countersign_builder::build::{BuildError, Variation};
use countersign_builder::check::{CheckError, Checked, Guilty, Repeated, Report, check, repeat};
use countersign_builder::prepare::{self, Prepared};
use countersign_builder::scratch::Scratch;
use countersign_console::{Exit, Failure, Hint, Out, Progress};

use crate::build::{Stores, make_output, say_environment};

/// Build twice and name what the bytes depend on
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Variations: path, user, hostname, domain, time, midnight, mtimes, cpus, timezone, locale, environment, umask, home,
  search-path, directory-order, kernel, aslr, randomness, machine-id, memory, disk, file-system, stdin, rlimits

Examples:
  countersign-builder check .                     everything
  countersign-builder check . --vary path,time    these two
  countersign-builder check . --repeat 100        no variation, but races: up to a hundred disturbed builds
  countersign-builder check . -o looked-at        keep the artifacts and logs")]
pub(super) struct Args {
    /// The directory that holds countersign.toml and countersign.lock
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// What to vary: all, or a list like path,user,time
    #[arg(long, value_name = "WHAT", default_value = "all")]
    vary: Variation,
    /// Hunt races: build so often while the order of events is disturbed, and stop at the first difference
    #[arg(long, value_name = "N", conflicts_with = "vary", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: Option<u32>,
    /// What decides the disturbances of --repeat
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "repeat")]
    seed: u64,
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
        let scratch =
            Scratch::of_machine().or_fail(Exit::Host, "cannot make a scratch directory")?;
        let dir = match &self.output {
            Some(dir) => {
                make_output(dir, &[])?;
                dir.as_path()
            }
            None => scratch.path(),
        };
        let found = match self.look(&prepared, dir, &now) {
            Ok(found) => found,
            Err(error) => {
                return Err(match (&self.output, &error) {
                    // The log that the hint names must outlive this process.
                    (None, CheckError::Build { source: BuildError::DidNotBuild(_), .. }) => {
                        let kept = scratch
                            .keep("countersign-check-")
                            .or_fail(Exit::Host, "cannot keep the log")?;
                        crate::fail::check(error, &kept)
                    }
                    _ => crate::fail::check(error, dir),
                });
            }
        };
        drop(progress);
        say_environment(&prepared, out);
        Ok(match &found {
            Found::Checked(report) => {
                crate::show::cautions(&prepared, &report.not_varied, &report.native, out);
                say(&report.checked, out);
                out.json(report);
                let is_equal = matches!(report.checked, Checked::Equal { .. });
                if is_equal { Exit::Done } else { Exit::Verdict }
            }
            Found::Repeated(repeated) => {
                crate::show::cautions(&prepared, &[], &[], out);
                say_repeated(repeated, out);
                out.json(repeated);
                let is_steady = matches!(repeated, Repeated::Steady { .. });
                if is_steady { Exit::Done } else { Exit::Verdict }
            }
        })
    }

    fn look(
        &self,
        prepared: &Prepared,
        dir: &Path,
        now: &dyn Fn(&str),
    ) -> Result<Found, CheckError> {
        match self.repeat {
            Some(runs) => repeat(prepared, runs, self.seed, dir, now).map(Found::Repeated),
            None => check(prepared, &self.vary, dir, now).map(Found::Checked),
        }
    }
}

enum Found {
    Checked(Report),
    Repeated(Repeated),
}

fn say_repeated(repeated: &Repeated, out: Out) {
    match repeated {
        Repeated::Steady { runs, seed } => {
            out.say(format!("STEADY: none of {runs} disturbed builds differed (seed {seed})"));
        }
        Repeated::Race { differed, runs, seed, comparison, did_not_build } => {
            out.say(format!("RACE: {differed} of {runs} disturbed builds differed (seed {seed})"));
            out.say("  clock and randomness were held: it is the order in which things happened");
            if let Some(reason) = did_not_build {
                out.say(format!("  it did not build: {reason}"));
            }
            if let Some(comparison) = comparison {
                crate::show::comparison(comparison, out);
            }
        }
    }
}

fn say(checked: &Checked, out: Out) {
    match checked {
        Checked::Equal { sha256, varied } => {
            let varied: Vec<&str> = varied.iter().map(|kind| kind.name()).collect();
            out.say(format!("EQUAL sha256:{sha256}"));
            match varied.is_empty() {
                true => out.say("nothing was varied"),
                false => out.say(format!("the bytes do not depend on {}", varied.join(", "))),
            }
        }
        Checked::Unstable { comparison } => {
            out.say("DIFFERENT even with clock and randomness held: a race (try --repeat), or what cannot be held");
            crate::show::comparison(comparison, out);
        }
        Checked::Depends { guilty, comparison } => {
            if guilty.is_empty() {
                out.say("DIFFERENT with everything varied, and with nothing of it by itself");
            }
            for one in guilty {
                out.say(format!("DIFFERENT: the bytes depend on {}{}", one.kind, together(one)));
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

fn together(one: &Guilty) -> String {
    match one.with.as_slice() {
        [] => String::new(),
        with => {
            let with: Vec<&str> = with.iter().map(|kind| kind.name()).collect();
            format!(", together with {}", with.join(", "))
        }
    }
}
