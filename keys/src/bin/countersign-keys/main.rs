//! `countersign-keys`: keys, what a keyholder is asked to sign, and signatures.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_console::{Exit, Extras, Out, Output, harden, run};

mod attest;
mod export_message;
mod generate;
mod import;
mod import_signature;
mod input;
mod pin;
mod review;
mod secret;
mod show;
mod sign;
mod verify;

const EXAMPLES: &str = "\
Examples:
  countersign-keys generate alice
      make alice.key (sealed with a password) and alice.pub
  countersign-keys review --key alice.key root.request.json
      explain what is to be signed, judged from the root beside the key
  countersign-keys sign --key alice.key root.request.json -o alice.root.sig.json
      show it, ask, sign; a first root that you sign is pinned beside the key
  countersign-keys attest --key alice.key MINE/verdict.json -o MINE/verdict.dsse.json
      sign the verdict about your own rebuild …
  countersign-keys sign --key alice.key --rebuilt MINE/verdict.dsse.json node.request.json
      … and rest your signature of the release on it
  countersign-keys sign --key ssh-agent:alice.pub --root 1.root.json node.request.json
      sign with a key in your SSH agent; pkcs11:… names one in a token
  countersign-keys export-message --root 1.root.json node.request.json -o node.signed
      give the exact bytes to a stock tool; import-signature takes its signature in
";

/// Keeps a keyholder's secret keys, explains what is to be signed, and signs it
#[derive(Parser)]
#[command(name = "countersign-keys", version, after_help = format!("{EXAMPLES}\n{}", Exit::TABLE))]
struct Program {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Generate(generate::Args),
    Show(show::Args),
    Import(import::Args),
    Pin(pin::Args),
    Review(review::Args),
    Sign(sign::Args),
    Attest(attest::Args),
    ExportMessage(export_message::Args),
    ImportSignature(import_signature::Args),
    Verify(verify::Args),
    #[command(flatten)]
    Extras(Extras),
}

fn main() -> ExitCode {
    run(
        |program: &Program| program.output,
        |program| {
            harden()?;
            let out = Out::new(program.output);
            match program.verb {
                Verb::Generate(args) => args.run(out),
                Verb::Show(args) => args.run(out),
                Verb::Import(args) => args.run(out),
                Verb::Pin(args) => args.run(out),
                Verb::Review(args) => args.run(out),
                Verb::Sign(args) => args.run(),
                Verb::Attest(args) => args.run(),
                Verb::ExportMessage(args) => args.run(out),
                Verb::ImportSignature(args) => args.run(),
                Verb::Verify(args) => args.run(out),
                Verb::Extras(extras) => extras.print::<Program>(),
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense() {
        super::Program::command().debug_assert();
    }
}
