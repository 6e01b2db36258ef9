//! `countersign-keyless`: statements signed without a key of one's own, and managed keys' statements in a log.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_console::{Exit, Extras, Out, Output, harden, run};

mod log;
mod output;
mod sign;
mod tell;

const EXAMPLES: &str = "\
Examples:
  countersign-builder rebuild --release DRAFT -o MINE --keyless
  countersign-keyless sign --instance sigstore.toml --token-file token.jwt \\
      MINE/verdict.json -o MINE/verdict.sigstore.json
      sign it as whom the token names, and enter it in the log
  countersign-keyless sign --instance sigstore.toml --token-fd 3 verdict.json -o v.json 3< <(get-token)
      the same, the token from an open descriptor
  countersign-keys attest --key p256.key verdict.json -o verdict.dsse.json
  countersign-keyless log --instance sigstore.toml verdict.dsse.json -o verdict.sigstore.json
      a managed P-256 key signs offline; this enters its signature in the log

sigstore.toml:
  fulcio = \"https://…\"   rekor = \"https://…\"   rekor-version = 1
  timestamp = \"https://…\"   trusted-root = \"trusted_root.json\"
";

/// Signs statements keyless (Sigstore) and enters signatures in a log
#[derive(Parser)]
#[command(name = "countersign-keyless", version, after_help = format!("{EXAMPLES}\n{}", Exit::TABLE))]
struct Program {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Sign(sign::Args),
    Log(log::Args),
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
                Verb::Sign(args) => args.run(out),
                Verb::Log(args) => args.run(out),
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
