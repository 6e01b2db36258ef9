//! Starting the node's process: its own group, its sockets at 3 and up, nothing else inherited.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};

use super::SuperviseError;
use crate::Home;
use crate::durable;
use crate::generation::Generation;

/// The hidden verb that sets `LISTEN_PID` and becomes the node.
pub const EXEC_VERB: &str = "exec-node";

/// Where the node's programs find others. Nothing else of the supervisor's environment reaches it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the process of a generation; its pid is its process group too.
///
/// `locks` are inherited beside the sockets, without being announced: they keep `NODE/run/state.lock` and the data
/// directory locked while any process of the node lives.
pub(super) fn spawn(
    home: &Home,
    generation: &Generation,
    sockets: Vec<OwnedFd>,
    locks: [OwnedFd; 2],
    notify: &Path,
) -> Result<i32, SuperviseError> {
    let output = durable::append_to(&home.node_log())?;
    let errors = output
        .try_clone()
        .map_err(|source| SuperviseError::System { what: "open the node's log", source })?;
    let words = generation.command(home);
    let names: Vec<&str> = generation.launch.listen.iter().map(|(name, _)| name.as_str()).collect();
    // The program that runs now, even if its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(EXEC_VERB)
        .arg("--")
        .args(&words)
        .current_dir(generation.state_dir(home))
        .env_clear()
        .env("PATH", PATH)
        .envs(&generation.launch.environment)
        .env("NOTIFY_SOCKET", notify)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0);
    if !sockets.is_empty() {
        command.env("LISTEN_FDS", sockets.len().to_string());
        command.env("LISTEN_FDNAMES", names.join(":"));
    }
    let inherited = sockets.into_iter().chain(locks).zip(3..);
    let mappings = inherited.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    let spawn = |source| SuperviseError::Spawn { program: words[0].clone(), source };
    command.fd_mappings(mappings.collect()).map_err(|error| spawn(io::Error::other(error)))?;
    // The child is reaped by pid with everything else that the node leaves behind.
    let child = command.spawn().map_err(spawn)?;
    Ok(child.id().cast_signed())
}

/// Becomes the node: sets `LISTEN_PID` to this process and replaces it. Returns only if that fails.
pub fn exec(words: &[OsString]) -> io::Error {
    let Some((program, arguments)) = words.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program was named");
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if std::env::var_os("LISTEN_FDS").is_some() {
        command.env("LISTEN_PID", std::process::id().to_string());
    }
    command.exec()
}

/// Opens `NODE/run/state.lock` and locks it.
///
/// # Errors
/// Somebody else has it, or the disk fails.
pub fn lock_state(home: &Home) -> Result<File, SuperviseError> {
    let path = home.state_lock();
    let file = durable::append_to(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(SuperviseError::StateInUse(path)),
        Err(std::fs::TryLockError::Error(source)) => {
            Err(SuperviseError::System { what: "lock the state", source })
        }
    }
}
