//! `countersign-updater`: a node's updater. Parses and dispatches, nothing else.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_console::{Exit, Extras, Out, Output, run};

mod accept;
mod apply;
mod check_peer;
mod config;
mod doctor;
mod endpoint;
mod explain;
mod forgive;
mod history;
mod hold;
mod install;
mod log;
mod metrics;
mod orders;
mod rehearse;
mod release;
mod report;
mod rollback;
mod run;
mod serve;
mod shadow;
mod status;
mod supervise;
mod systemd;
mod tee;
mod tell;
mod verify;

const EXAMPLES: &str = "\
Examples:
  countersign-updater install --repository https://releases.example.org/ --root root.json \\
      --product examplenode /srv/examplenode
      install a node from nothing but the repository's address and its root file
  countersign-updater supervise /srv/examplenode
      own the listening sockets and run the node; the node outlives every update of this program
  countersign-updater run /srv/examplenode
      look for releases; verify, try in the shadow, wait, swap, watch, roll back
  countersign-updater status /srv/examplenode
      what runs, what is under way, what comes next and when
  countersign-updater hold /srv/examplenode --for 3d --reason 'the auditors are here'
      begin no swap; `release` lifts it, `apply` takes a release before its time, `rollback` goes back
  countersign-updater verify examplenode-2.0.0-linux-x86_64.tar.zst \\
      --repository https://releases.example.org/ --root root.json
      which release a file is, who signed it and who reproduced it
  countersign-updater shadow run --for 10s -- /usr/bin/some-program
      run any program shut off from the world, and see what it tries to reach
";

/// Keeps a node on verified releases, tried in a shadow first, without losing its state
#[derive(Parser)]
#[command(name = "countersign-updater", version, after_help = format!("{EXAMPLES}\n{}", Exit::TABLE))]
struct Program {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Install(install::Args),
    Supervise(supervise::Args),
    Run(run::Args),
    Apply(apply::Args),
    Hold(hold::Args),
    Release(release::Args),
    Accept(accept::Args),
    Rollback(rollback::Args),
    Forgive(forgive::Args),
    Status(status::Args),
    History(history::Args),
    Explain(explain::Args),
    Verify(verify::Args),
    CheckPeer(check_peer::Args),
    Serve(serve::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Systemd(systemd::Args),
    Shadow(shadow::Args),
    #[command(hide = true)]
    Rehearse(rehearse::Args),
    #[command(hide = true, name = supervise::EXEC_VERB)]
    ExecNode(supervise::ExecNode),
    #[command(hide = true, name = countersign_updater::supervise::TEE_VERB)]
    Tee(tee::Args),
    #[command(flatten)]
    Extras(Extras),
}

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    run(
        |program: &Program| program.output,
        |program| {
            let out = Out::new(program.output);
            match program.verb {
                Verb::Install(args) => args.run(out),
                Verb::Supervise(args) => args.run(out),
                Verb::Run(args) => args.run(out),
                Verb::Apply(args) => args.run(out),
                Verb::Hold(args) => args.run(out),
                Verb::Release(args) => args.run(out),
                Verb::Accept(args) => args.run(out),
                Verb::Rollback(args) => args.run(out),
                Verb::Forgive(args) => args.run(out),
                Verb::Status(args) => args.run(out),
                Verb::History(args) => args.run(out),
                Verb::Explain(args) => args.run(out),
                Verb::Verify(args) => args.run(out),
                Verb::CheckPeer(args) => args.run(out),
                Verb::Serve(args) => args.run(out),
                Verb::Config(args) => args.run(out),
                Verb::Systemd(args) => args.run(out),
                Verb::Doctor(args) => args.run(out),
                Verb::Shadow(args) => args.run(out),
                Verb::Rehearse(args) => args.run(out),
                Verb::ExecNode(args) => args.run(),
                Verb::Tee(args) => args.run(),
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
