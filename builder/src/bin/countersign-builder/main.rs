//! `countersign-builder`: builds hermetically, rebuilds what others published, says what differs.

mod build;
mod cache;
mod check;
mod compare;
mod env;
mod export;
mod fail;
mod init;
mod lock;
mod pack;
mod platform;
mod rebuild;
mod show;
mod sign;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_console::{Exit, Extras, Failure, Out, Output};

/// Builds hermetically, rebuilds what others published, says what differs
#[derive(Parser, Debug)]
#[command(name = "countersign-builder", version, about, after_help = format!("{EXAMPLES}\n\n{}", Exit::TABLE))]
struct Program {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Write a first countersign.toml for a project, by looking at it
    Init(init::Args),
    /// Resolve the recipe: digest the environment, fetch inputs, write countersign.lock
    Lock(lock::Args),
    /// Build what is locked, without a network, into an artifact and what a release needs
    Build(build::Args),
    /// Rebuild a release from what is stored with it; give a verdict
    Rebuild(rebuild::Args),
    /// Build twice, plain and varied, and name what the bytes depend on
    Check(check::Args),
    /// Explain how two artifacts differ
    Compare(compare::Args),
    /// Pack a directory into one canonical archive: equal trees give equal bytes
    Pack(pack::Args),
    /// Lay environment, source and inputs out as a root tree, for a container FROM scratch
    Export(export::Args),
    /// The build's environment by itself
    #[command(subcommand)]
    Env(env::Verb),
    /// What is kept to be used again: list it, verify it, remove what is old
    #[command(subcommand)]
    Cache(cache::Verb),
    /// Print this machine's platform, as it stands in artifacts' names
    Platform(platform::Args),
    #[command(flatten)]
    Extras(Extras),
}

const EXAMPLES: &str = "\
Examples:
  countersign-builder init .                       write a first countersign.toml
  countersign-builder lock .                       resolve countersign.toml
  countersign-builder build . -o built             build what is locked
  countersign-builder check .                      do the bytes depend on this machine?
  countersign-builder rebuild --release built -o again --vary all
  countersign-builder rebuild --repository https://releases.example.org --root root.json \\
      --product examplenode --version 2.0.0 -o again --identity-file me.pub \\
      --signer 'countersign-keys sign --yes --key me.key'
  countersign-builder compare a.tar.zst b.tar.zst";

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    // Where it cannot be had, a signal ends the program as it always does, and leaves scratch behind.
    let _courtesy = countersign_builder::interrupt::listen();
    countersign_console::run(
        |program: &Program| program.output,
        |program| {
            let out = Out::new(program.output);
            let ended = match program.verb {
                Verb::Init(args) => args.run(out),
                Verb::Lock(args) => args.run(out),
                Verb::Build(args) => args.run(out),
                Verb::Rebuild(args) => args.run(out),
                Verb::Check(args) => args.run(out),
                Verb::Compare(args) => args.run(out),
                Verb::Pack(args) => args.run(out),
                Verb::Export(args) => args.run(out),
                Verb::Env(verb) => verb.run(out),
                Verb::Cache(verb) => verb.run(out),
                Verb::Platform(args) => args.run(out),
                Verb::Extras(extras) => extras.print::<Program>(),
            };
            // Whatever it was that could not go on.
            match countersign_builder::interrupt::asked() {
                true => ended.map_err(|_| {
                    Failure::new(Exit::Busy, "interrupted by a signal")
                        .hint("nothing half made is left behind: run it again")
                }),
                false => ended,
            }
        },
    )
}
