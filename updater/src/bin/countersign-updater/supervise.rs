//! `supervise`: owns the listening sockets and runs the node.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::config;
use countersign_updater::selfupdate::Role;
use countersign_updater::supervise::{self, Limits, SuperviseError};
use countersign_updater::systemd;

pub(crate) use countersign_updater::supervise::EXEC_VERB;

use crate::log::{self, Format};
use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater supervise /srv/examplenode
      run what `current` names, until TERM
  countersign-updater supervise --kill-after never /srv/examplenode
      wait for the node for ever when it is asked to stop

The supervisor reads no metadata and has no network client. An agent (`countersign-updater run`) tells it when to
stop and start; without one the node simply runs. TERM to the supervisor is TERM to the node.";

/// Run the node: own its sockets, start it, start it again when it ends
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// KILL the node when it has not ended this long after TERM; `never` waits for ever
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = kill_after)]
    kill_after: KillAfter,
    /// Rotate the node's log beyond this size
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = config::size)]
    log_size: u64,
    /// How the supervisor tells what happens: in words, or as one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    log: Format,
}

#[derive(Clone, Copy)]
struct KillAfter(Option<Duration>);

fn kill_after(text: &str) -> Result<KillAfter, config::BadUnit> {
    if text == "never" {
        return Ok(KillAfter(None));
    }
    config::duration(text).map(|time| KillAfter(Some(time)))
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open_to_write(&self.node)?;
        tell::become_current(&home, Role::Supervise, out)?;
        let limits = Limits { kill_after: self.kill_after.0, log_bytes: self.log_size };
        self.log.check(out)?;
        let mut tell = |sentence: &str| {
            systemd::status(sentence);
            match self.log {
                Format::Text => out.say(sentence),
                Format::Json => out.line(&log::said(sentence, Some(&home))),
            }
        };
        supervise::run(&home, limits, &mut tell).map_err(|error| failure(&error))?;
        tell("the node has ended, and so does its supervisor");
        Ok(Exit::Done)
    }
}

fn failure(error: &SuperviseError) -> Failure {
    let (exit, hint) = match error {
        SuperviseError::Busy(_) => (
            Exit::Busy,
            "one supervisor is enough: countersign-updater status NODE says what it does",
        ),
        SuperviseError::PathTooLong(_) => (
            Exit::Usage,
            "move the node directory to a shorter path, or name it through a short link's target",
        ),
        SuperviseError::NothingInstalled(_) => {
            (Exit::Input, "countersign-updater install finishes what it began when it is run again")
        }
        SuperviseError::Generation(error) => return tell::generation(error),
        SuperviseError::Disk(error) => return tell::disk(error),
        SuperviseError::Listen { source, .. } => match source.kind() {
            std::io::ErrorKind::AddrInUse => (
                Exit::Host,
                "another program has this address: end it (`ss -ltnp` names it), or move the socket in [listen] of \
                 countersign-updater.toml before the install",
            ),
            std::io::ErrorKind::PermissionDenied => {
                (Exit::Host, "ports below 1024 need root or CAP_NET_BIND_SERVICE")
            }
            _ => (Exit::Host, "the address must belong to this machine"),
        },
        SuperviseError::Orphan { .. } => {
            (Exit::Busy, "end that process yourself, or allow it: --kill-after 10m")
        }
        SuperviseError::StateInUse(_) => {
            (Exit::Busy, "a node, a migration or a copy still writes there: wait for it to end")
        }
        SuperviseError::Migrating(_) => {
            (Exit::Busy, "run the agent: countersign-updater run NODE completes or reverses it")
        }
        SuperviseError::Exclusive { .. }
        | SuperviseError::Spawn { .. }
        | SuperviseError::System { .. } => {
            (Exit::Host, "countersign-updater doctor NODE says what this machine lacks")
        }
    };
    Failure::caused(exit, "cannot supervise the node", error).hint(hint)
}

/// Becomes the node (hidden: the supervisor runs it, so that `LISTEN_PID` is right without work after fork)
#[derive(clap::Args)]
pub(crate) struct ExecNode {
    /// Program and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl ExecNode {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let error = supervise::exec(&self.command);
        let program = self.command.first().cloned().unwrap_or_default();
        Err(Failure::caused(
            Exit::Host,
            format!("cannot run {}", program.to_string_lossy()),
            &error,
        ))
    }
}
