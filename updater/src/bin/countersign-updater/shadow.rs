//! `shadow`: the verbs about it, and `shadow run`: any program in the shadow's sandbox, and what it did there.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_updater::config::{duration, size};
use countersign_updater::shadow::{Bounds, Lowerable, Trial, WrittenSeen, exit_text, page, trial};

use crate::{report, tell};

/// Run programs in the shadow's sandbox, and look at what releases did there
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(Run),
    Report(report::Report),
}

/// Run any program shut off from the world, and report what it tried to reach
///
/// It sees this machine's /usr, /bin and /lib, read-only, and nothing else; what it writes is not executed. What it prints
/// goes to standard error.
/// The exit code is 1 if it tried to reach anything.
#[derive(clap::Args)]
struct Run {
    /// A directory that it has as /state and may write; it stays as it is, and what was written is listed
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How long it is watched at most
    #[arg(long = "for", default_value = "30s", value_name = "TIME", value_parser = duration)]
    window: Duration,
    /// How much memory it may use, all of its processes together [default: 2GiB, where this user may limit it]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Write what was seen as a page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// A protection to go without, by its name: "memory limit", "landlock" or "programs" [repeatable]
    #[arg(long, value_name = "NAME")]
    lower: Vec<Lowerable>,
    /// Keep so many bytes of what is to be sent first, to each destination. Connections are taken for that, not refused
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=4096))]
    first_bytes: u32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let args = match self.verb {
            Verb::Run(args) => args,
            Verb::Report(args) => return args.run(out),
        };
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        let output = File::from(stderr.or_fail(Exit::Host, "standard error is not open")?);
        let state = match args.state {
            Some(dir) => Some(dir.canonicalize().or_fail(
                Exit::Input,
                format!("the state directory {} cannot be used", dir.display()),
            )?),
            None => None,
        };
        let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
        let command = words.join(" ");
        let bounds = Bounds {
            window: args.window,
            memory: args.memory,
            lower: args.lower,
            first_bytes: usize::try_from(args.first_bytes).unwrap_or_default(),
        };
        let spinner = Progress::spinner("watching");
        let trial =
            trial(args.command, state, bounds, output).map_err(|error| tell::shadow(&error))?;
        drop(spinner);
        say(out, &trial);
        if let Some(file) = &args.html {
            write_page(out, file, &page::of_trial(&trial, &command))?;
        }
        out.json(&trial);
        Ok(if trial.is_quiet() { Exit::Done } else { Exit::Verdict })
    }
}

fn say(out: Out, trial: &Trial) {
    let seconds = Duration::from_millis(trial.watched_ms).as_secs_f64();
    if trial.stopped {
        out.say(format!("It was watched for {seconds:.1} s, still ran, and was stopped."));
    } else {
        out.say(format!("It ended after {seconds:.1} s with {}.", exit_text(trial.exit)));
    }
    let usage = &trial.usage;
    out.say(format!(
        "It used {:.2} s of processor time and {:.1} MiB of memory.",
        usage.cpu.as_secs_f64(),
        usage.max_rss as f64 / f64::from(1 << 20)
    ));
    if trial.memory_limit.is_none() {
        out.say("Its memory was not limited: this user has no control group to do that with.");
    }
    for lowered in trial.lowered.iter().filter(|one| **one != Lowerable::MemoryLimit) {
        out.say(format!("It ran without a protection: {lowered}."));
    }
    if trial.is_quiet() {
        out.say("It tried to reach nothing.");
    }
    if !trial.attempts.is_empty() {
        out.say("It tried to reach (nothing real was reached):");
    }
    for attempt in &trial.attempts {
        out.say(format!("  after {:>6} ms  {attempt}", attempt.after_ms));
    }
    if trial.unaccounted > 0 {
        out.say(format!("  and {} more, elsewhere or where it was not seen.", trial.unaccounted));
    }
    if let Some(written) = &trial.written {
        say_written(out, written);
    }
    if trial.is_quiet() {
        out.say(format!(
            "It could tell that it was in a sandbox ({}): what it does elsewhere, or later, was not seen.",
            trial.telltales.join(", ")
        ));
    }
    if trial.output_truncated {
        out.say("Its output was longer than is kept.");
    }
}

/// Writes a page, in place of an earlier one of that name.
pub(crate) fn write_page(out: Out, file: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(file, page)
        .or_fail(Exit::Input, format!("the page {} cannot be written", file.display()))?;
    out.say(format!("The page is {}.", file.display()));
    Ok(())
}

/// Names that are told to a person; the JSON has more.
const TOLD: usize = 20;

pub(crate) fn say_written(out: Out, written: &WrittenSeen) {
    if written.names == 0 {
        out.say("It wrote nothing to its state.");
        return;
    }
    out.say(format!(
        "It wrote {} names and {} bytes to its state (the directory itself is as it was):",
        written.names, written.bytes
    ));
    for name in written.list.iter().take(TOLD) {
        out.say(format!("  {:<8}{:>14}  {}", name.deed.to_string(), name.bytes, name.path));
    }
    let more = written.names.saturating_sub(TOLD as u64);
    if more > 0 {
        out.say(format!("  and {more} more; --json lists the first thousand."));
    }
    if written.unread > 0 {
        out.say(format!("  and {} directories that it closed.", written.unread));
    }
}
