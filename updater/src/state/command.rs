//! Runs a command of a release on the node's state: cleared environment, deadline, output into the log, and nothing
//! of it left running.

mod left;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::CommandFdExt;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::durable::{self, DiskError, OnDisk};

/// What a command gets to find others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run {program}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// It ended, and not well.
    #[error("{program} ended with {status}")]
    Ended {
        /// The program.
        program: String,
        /// How.
        status: std::process::ExitStatus,
    },
    /// It left processes behind that do not end, even when killed.
    #[error("{program} left processes behind that do not end: {pids:?}")]
    Left {
        /// The program.
        program: String,
        /// Which ones.
        pids: Vec<i32>,
    },
    /// It took too long and was killed with everything it had started.
    #[error("{program} did not end within {limit:?}")]
    TooLong {
        /// The program.
        program: String,
        /// The deadline.
        limit: Duration,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl CommandError {
    /// Whether the command is at fault, and not this machine.
    pub fn blames_release(&self) -> bool {
        match self {
            // Everything else is about memory, processes or descriptors that this machine lacks just now.
            Self::Start { source, .. } => matches!(
                source.raw_os_error().map(Errno::from_raw),
                Some(
                    Errno::ENOENT | Errno::EACCES | Errno::ENOEXEC | Errno::EISDIR | Errno::ENOTDIR
                )
            ),
            Self::Ended { .. } | Self::TooLong { .. } => true,
            Self::Left { .. } | Self::Disk(_) => false,
        }
    }
}

/// Says that this process has no children but those of [`run`], one at a time, and of sandboxes: from now on
/// whatever a command leaves behind is ended, also what has left its process group.
pub fn end_what_is_left() {
    left::adopt();
}

/// Runs `words` to their end. `held` stays open in the command and whatever it starts: locks that outlive this
/// process if this process dies.
///
/// # Errors
/// It does not start, does not succeed, or takes longer than `limit`.
pub fn run(
    words: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
    directory: &Path,
    log: &Path,
    limit: Duration,
    held: Vec<OwnedFd>,
) -> Result<(), CommandError> {
    let program = words.first().cloned().unwrap_or_default();
    let output = durable::append_to(log)?;
    let errors = output.try_clone().on_disk("open", log)?;
    let mut command = Command::new(&program);
    command
        .args(words.iter().skip(1))
        .current_dir(directory)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .preserved_fds(held);
    let start = |source| CommandError::Start { program: program.clone(), source };
    let adoption = left::Adoption::begin();
    let mut child = command.spawn().map_err(start)?;
    // The child has its own copy: this one would keep the lock after it.
    drop(command);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(start)? {
            // What it left running must not write state behind our back.
            let _none_left = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            let left = adoption.end();
            return match status.success() {
                true if !left.is_empty() => Err(CommandError::Left { program, pids: left }),
                true => Ok(()),
                false => Err(CommandError::Ended { program, status }),
            };
        }
        if Instant::now() > deadline {
            let _already_gone = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            let _reaped = child.wait();
            let _those_too = adoption.end();
            return Err(CommandError::TooLong { program, limit });
        }
        breathe();
    }
}

#[expect(clippy::disallowed_methods, reason = "a child is waited for with a deadline")]
fn breathe() {
    std::thread::sleep(Duration::from_millis(5));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<(), CommandError> {
        let dir = tempfile::tempdir().unwrap();
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let log = dir.path().join("log");
        run(&words, [("NAME".to_owned(), "value".to_owned())], dir.path(), &log, limit, Vec::new())
    }

    #[test]
    fn a_command_sees_its_own_environment_only_and_its_exit_counts() {
        let long = Duration::from_secs(30);
        sh("test \"$NAME\" = value && test -z \"$HOME\"", long).unwrap();
        assert!(matches!(sh("exit 3", long), Err(CommandError::Ended { .. })));
        let missing = run(
            &["/nonexistent".to_owned()],
            [],
            Path::new("/"),
            Path::new("/dev/null"),
            long,
            Vec::new(),
        );
        assert!(matches!(missing, Err(CommandError::Start { .. })));
    }

    #[test]
    fn a_machine_that_lacks_processes_or_memory_is_not_held_against_the_release() {
        for (errno, release) in [
            (Errno::EAGAIN, false),
            (Errno::ENOMEM, false),
            (Errno::EMFILE, false),
            (Errno::EIO, false),
            (Errno::ENOENT, true),
            (Errno::ENOEXEC, true),
        ] {
            let error = CommandError::Start { program: "p".to_owned(), source: errno.into() };
            assert_eq!(error.blames_release(), release, "{errno}");
        }
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_its_children() {
        let error = sh("sleep 600 & sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, CommandError::TooLong { .. }));
    }
}
