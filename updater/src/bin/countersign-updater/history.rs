//! `history`: the journal, line by line.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::machine::journal::{self, Kind, Record};

use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater history /srv/examplenode
      every arrow between two states and every order, with its reason
  countersign-updater history --last 20 --intents /srv/examplenode";

/// Show every step that was taken, from the journal
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// Only the last N lines
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Also show what was only intended (one line before each effect)
    #[arg(long)]
    intents: bool,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open(&self.node)?;
        let journal = journal::read(&home.journal()).map_err(|error| {
            Failure::caused(Exit::Input, "the journal cannot be read", &error)
                .hint("it is NODE/journal.jsonl; a damaged line in the middle means that something else wrote it")
        })?;
        let mut records = journal.records;
        if !self.intents {
            // The last intent has no outcome yet: it is what was under way.
            let last = records.last().map(|record| record.seq);
            records.retain(|r| r.kind != Kind::Intent || Some(r.seq) == last);
        }
        let skip = self.last.map_or(0, |last| records.len().saturating_sub(last));
        let records = &records[skip..];
        if records.is_empty() {
            out.say("Nothing has happened yet.");
        } else {
            out.table(["When", "Step", "Outcome", "Why", "State"], records.iter().map(row));
        }
        if journal.torn > 0 {
            out.say(format!(
                "(a torn last line of {} bytes is not shown: a power cut)",
                journal.torn
            ));
        }
        out.json(&records);
        Ok(Exit::Done)
    }
}

fn row(record: &Record) -> [String; 5] {
    let outcome = match &record.kind {
        Kind::Intent => "begun",
        Kind::Done => "done",
        Kind::Failed { .. } => "failed",
    };
    let version = record.state.candidate().map(|c| format!(" {}", c.version)).unwrap_or_default();
    [
        record.at.to_string(),
        record.effect.to_string(),
        outcome.to_owned(),
        record.why.clone(),
        format!("{}{version}", record.state.name()),
    ]
}
