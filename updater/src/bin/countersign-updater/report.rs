//! `shadow report`: what a release did in this node's shadow, as text, as a page, and signed for others.

use std::path::{Path, PathBuf};

use countersign_console::{AskError, Exit, Failure, Hint, Out, ask};
use countersign_metadata::request::{NotSigned, signed_statement};
use countersign_metadata::statement::whole_seconds;
use countersign_metadata::{PublicKey, Version};
use countersign_updater::durable;
use countersign_updater::shadow::{Report as Seen, Saved, Verdict, exit_text, page, reports};
use jiff::Timestamp;

use crate::shadow::{say_written, write_page};
use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater shadow report /srv/examplenode --html report.html
      the newest report, as a page for a browser
  countersign-updater shadow report /srv/examplenode 2.0.0 --sign -o report.dsse.json \\
      --identity-file me.pub --signer 'countersign-keys sign --yes --key me.key'
      the same signed, for others to read; nobody needs it, and nobody relies on it";

/// Say what a release did in this node's shadow
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Report {
    /// The node's directory
    node: PathBuf,
    /// Which version; the one that was tried last, unless given
    version: Option<Version>,
    /// Write it as a page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Sign it with a key, for others to read: all of it becomes public, with names of files and the end of the output
    #[arg(long, requires_all = ["signer", "output"])]
    sign: bool,
    /// The public key that the statement is by (RW…)
    #[arg(long, value_name = "RW…", conflicts_with = "identity_file", requires = "sign")]
    identity: Option<PublicKey>,
    /// The same, in a file
    #[arg(long, value_name = "KEY.pub", requires = "sign")]
    identity_file: Option<PathBuf>,
    /// The command that signs: a request on its standard input, a signature on its standard output
    #[arg(long, value_name = "COMMAND", requires = "sign")]
    signer: Option<String>,
    /// Where the signed statement is written
    #[arg(short, long, value_name = "FILE", requires = "sign")]
    output: Option<PathBuf>,
}

impl Report {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open(&self.node)?;
        let all = reports(&home).map_err(|error| tell::disk(&error))?;
        let wanted = |saved: &&Saved| {
            self.version.as_ref().is_none_or(|version| saved.report.version == *version)
        };
        let Some(saved) = all.iter().find(wanted) else {
            return Err(self.nothing(&all));
        };
        let report = &saved.report;
        if let (true, Some(command), Some(file)) = (self.sign, &self.signer, &self.output) {
            self.sign(saved, command, file)?;
        }
        say(out, report);
        if let Some(file) = &self.html {
            write_page(out, file, &page::of_report(report))?;
        }
        if let Some(file) = &self.output {
            out.say(format!("The signed statement is {}.", file.display()));
        }
        out.json(report);
        Ok(match report.verdict {
            Verdict::Cleared => Exit::Done,
            Verdict::Refused { .. } => Exit::Verdict,
        })
    }

    fn nothing(&self, all: &[Saved]) -> Failure {
        let known: Vec<_> = all.iter().map(|saved| saved.report.version.to_string()).collect();
        match &self.version {
            Some(version) if !known.is_empty() => Failure::new(
                Exit::Input,
                format!("version {version} was not tried in the shadow here"),
            )
            .hint(format!("there are reports about {}", known.join(", "))),
            _ => Failure::new(Exit::Input, "no release was tried in the shadow here")
                .hint("countersign-updater run NODE tries each release before it is taken"),
        }
    }

    fn sign(&self, saved: &Saved, command: &str, file: &Path) -> Result<(), Failure> {
        let identity = self.key()?;
        let statement = saved
            .statement(&identity, whole_seconds(Timestamp::now()))
            .map_err(|error| tell::shadow(&error))?;
        let unwritten = "the statement cannot be written";
        let bytes = serde_json::to_vec_pretty(&statement).or_fail(Exit::Host, unwritten)?;
        let envelope = signed_statement(&bytes, &identity, |request| ask(command, request))
            .map_err(|error| not_signed(&error))?;
        let bytes = serde_json::to_vec_pretty(&envelope).or_fail(Exit::Host, unwritten)?;
        durable::write(file, &bytes)
            .or_fail(Exit::Input, format!("{} cannot be written", file.display()))?;
        Ok(())
    }

    fn key(&self) -> Result<PublicKey, Failure> {
        const KEY: &str = "--identity-file takes the public half of the signer's key, as `countersign-keys` writes it";
        if let Some(key) = self.identity {
            return Ok(key);
        }
        let Some(path) = &self.identity_file else {
            return Err(Failure::new(Exit::Usage, "--sign needs an identity").hint(KEY));
        };
        let what = format!("cannot read the public key {}", path.display());
        let bytes = durable::read(path, 4096).or_fail(Exit::Input, &what)?.unwrap_or_default();
        PublicKey::from_file_text(&String::from_utf8_lossy(&bytes))
            .or_fail(Exit::Input, &what)
            .map_err(|failure| failure.hint(KEY))
    }
}

/// What it takes, beside the version that ran, and how it met that one.
pub(crate) fn say_measures(out: Out, report: &Seen) {
    if let Some(measures) = &report.measures {
        measures.sentences().into_iter().for_each(|said| out.say(said));
        out.table(["Figure", "New", "Old", "Limit", ""], measures.table());
    }
    if let Some(meeting) = &report.meeting {
        meeting.sentences().into_iter().for_each(|said| out.say(said));
    }
}

fn not_signed(error: &NotSigned<AskError>) -> Failure {
    let exit = match error {
        NotSigned::Ask(AskError::Malformed(_)) => Exit::Usage,
        _ => Exit::Secret,
    };
    let failure = Failure::caused(exit, "nothing was signed", error);
    match error {
        NotSigned::OtherKey { .. } => {
            failure.hint("--identity-file must be the public half of the signer's key")
        }
        _ => failure.hint("try the signer command by itself: it says why on standard error"),
    }
}

fn say(out: Out, report: &Seen) {
    let named = format!("{} {}", report.product, report.version);
    match &report.verdict {
        Verdict::Cleared => {
            out.say(format!("{named} was cleared: it did nothing that it may not."))
        }
        Verdict::Refused { reasons } => {
            out.say(format!("{named} was refused:"));
            reasons.iter().for_each(|reason| out.say(format!("  {reason}")));
        }
    }
    if let Some(ready) = report.ready_after_ms {
        let watched = report.watched_ms as f64 / 1000.0;
        out.say(format!("It was ready after {ready} ms and was watched for {watched:.1} s."));
    }
    for run in &report.migrations {
        let (area, from, to) = (&run.area, run.from, run.to);
        let (ended, took) = (exit_text(run.exit), run.took_ms);
        out.say(format!("It migrated {area} from schema {from} to {to}: {ended}, {took} ms."));
    }
    if let Some(ending) = &report.ending {
        out.say(format!(
            "It used {:.2} s of processor time and {:.1} MiB of memory.",
            ending.cpu_ms as f64 / 1000.0,
            ending.max_rss_bytes as f64 / f64::from(1 << 20)
        ));
    }
    say_measures(out, report);
    if let Some(mirrored) = &report.mirrored {
        mirrored.sentences().into_iter().for_each(|said| out.say(said));
        out.table(["Answers", "Half within", "99 % within"], mirrored.table());
    }
    for attempt in &report.attempts {
        let word = if attempt.expected { "declared" } else { "not declared" };
        out.say(format!("  after {:>6} ms  {attempt} ({word})", attempt.after_ms));
    }
    if let Some(written) = &report.written {
        say_written(out, written);
    }
}
