//! `countersign-backup`: encrypted off-machine copies of a node's snapshots. Parses and dispatches, nothing else.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_console::{Exit, Extras, Out, Output, run};

mod check;
mod init;
mod list;
mod now;
mod restore;
mod status;
mod takeover;
mod tell;

const EXAMPLES: &str = "\
Examples:
  countersign-backup init /srv/examplenode
      make the repository that [backup] in countersign-updater.toml names; once
  countersign-backup now /srv/examplenode
      bring every snapshot that waits; the agent (countersign-updater run) does it by itself
  countersign-backup status /srv/examplenode
      what waits, what is there, what went wrong last
  countersign-backup list /srv/examplenode
      the copies in the store
  countersign-backup check --read-data /srv/examplenode
      whether the repository is whole, to the last byte
  countersign-backup restore /srv/examplenode
      the newest copy onto a node that was just installed and never ran
  countersign-backup takeover /srv/examplenode
      this node writes the store from now on, and nobody else

The store is a restic repository: `restic -r /mnt/backup/node-a restore latest --target DIR` needs nothing of ours.
";

/// Keeps encrypted, deduplicated copies of a node's snapshots on another machine
#[derive(Parser)]
#[command(name = "countersign-backup", version, after_help = format!("{EXAMPLES}\n{}", Exit::TABLE))]
struct Program {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Init(init::Args),
    Now(now::Args),
    Status(status::Args),
    List(list::Args),
    Check(check::Args),
    Restore(restore::Args),
    Takeover(takeover::Args),
    #[command(flatten)]
    Extras(Extras),
}

fn main() -> ExitCode {
    run(
        |program: &Program| program.output,
        |program| {
            let out = Out::new(program.output);
            match program.verb {
                Verb::Init(args) => args.run(out),
                Verb::Now(args) => args.run(out),
                Verb::Status(args) => args.run(out),
                Verb::List(args) => args.run(out),
                Verb::Check(args) => args.run(out),
                Verb::Restore(args) => args.run(out),
                Verb::Takeover(args) => args.run(out),
                Verb::Extras(extras) => extras.print::<Program>(),
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Program::command().debug_assert();
    }
}
