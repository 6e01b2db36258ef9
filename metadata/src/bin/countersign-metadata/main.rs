//! `countersign-metadata`: the repository manager's program.
#![expect(
    clippy::disallowed_methods,
    reason = "the library is pure; its program is where clock, disk and network are met"
)]

mod attest;
mod check;
mod deltas;
mod disk;
mod draft;
mod draft_dir;
mod init;
mod labelled;
mod merge;
mod mirror;
mod publish;
mod refresh;
mod repository;
mod revoke;
mod rollout;
mod rotate;
mod serve;
mod signer;
mod status;
mod store;
mod tell;
mod trusted_root;
mod when;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_console::{Exit, Extras, Failure, Out, Output};

const EXAMPLES: &str = "\
Examples:
  Begin a repository: two of three keyholders sign, one key re-signs unattended
    countersign-metadata init --repo REPO --product demo --threshold 2 \\
      --keyholder alice=alice.pub --keyholder bob=bob.pub --keyholder carol=carol.pub \\
      --online online.pub
  See who still has to sign, and which files to send them
    countersign-metadata status --repo REPO
  Take signatures in, then publish; only the first time the online key has no root to go by
    countersign-metadata merge --repo REPO alice.sig.json bob.sig.json
    countersign-metadata publish --repo REPO \\
      --signer 'countersign-keys sign --yes --key online.key --trust-first-root'
  The same, and copy it to an object store (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)
    countersign-metadata publish --repo REPO --to s3://bucket/prefix \\
      --endpoint https://store.example
  Propose what countersign-builder made
    countersign-metadata draft --repo REPO --release OUT
  A keyholder leaves, another joins; nodes must leave a bad version
    countersign-metadata rotate --repo REPO --remove carol --add dave=dave.pub
    countersign-metadata revoke --repo REPO --product demo --version 1.2.0
  Let nodes verify keyless (Sigstore) statements, then publish one
    countersign-metadata trusted-root --repo REPO trusted_root.json
    countersign-metadata attest --repo REPO verdict.sigstore.json
  Nodes take a release later, more slowly, or not at all
    countersign-metadata rollout --repo REPO --product demo --version 2.0.0 --window 7d
  From cron: re-sign before it expires, and complain early
    countersign-metadata refresh --repo REPO --signer '…'
    countersign-metadata check --repo REPO --within 30d
";

/// Draft releases, gather keyholders' signatures, publish static files
#[derive(Parser)]
#[command(name = "countersign-metadata", version, after_help = format!("{EXAMPLES}\n{}", Exit::TABLE))]
struct Program {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Init(init::Args),
    Draft(draft::Args),
    Status(status::Args),
    Merge(merge::Args),
    Publish(publish::Args),
    Refresh(refresh::Args),
    Rotate(rotate::Args),
    Revoke(revoke::Args),
    Rollout(rollout::Args),
    Check(check::Args),
    Attest(attest::Args),
    TrustedRoot(trusted_root::Args),
    Serve(serve::Args),
    #[command(flatten)]
    Extras(Extras),
}

fn main() -> ExitCode {
    countersign_console::run(|program: &Program| program.output, dispatch)
}

fn dispatch(program: Program) -> Result<Exit, Failure> {
    let out = Out::new(program.output);
    match program.verb {
        Verb::Init(args) => args.run(out),
        Verb::Draft(args) => args.run(out),
        Verb::Status(args) => args.run(out),
        Verb::Merge(args) => args.run(out),
        Verb::Publish(args) => args.run(out),
        Verb::Refresh(args) => args.run(out),
        Verb::Rotate(args) => args.run(out),
        Verb::Revoke(args) => args.run(out),
        Verb::Rollout(args) => args.run(out),
        Verb::Check(args) => args.run(out),
        Verb::Attest(args) => args.run(out),
        Verb::TrustedRoot(args) => args.run(out),
        Verb::Serve(args) => args.run(out),
        Verb::Extras(extras) => extras.print::<Program>(),
    }
}
