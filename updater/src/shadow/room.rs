//! The room that a shadow runs in: what it sees of this machine, and how much it may use up.
//!
//! ```text
//! /node    the release, read-only        /usr, /lib, … the machine's own programs and libraries, read-only
//! /state   its view of a snapshot        everything else is the sandbox's own
//! ```

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_metadata::node::{Ready, fill};
use countersign_sandbox::{Identity, Limits, Lowerable, Mount, Network, Sandbox};

use super::view::StateView;
use crate::Config;
use crate::config;
use crate::durable::{DiskError, OnDisk};
use crate::generation::Launch;

/// Where the release is, inside.
pub(super) const TREE: &str = "/node";
/// Where the copy of the state is, inside.
pub(super) const STATE: &str = "/state";

/// What a program may write into one file beyond twice what its state was.
const HEADROOM: u64 = 1 << 30;
/// Bytes that must stay free where the state is, for a program that is tried without a node and its `free-space`.
pub(super) const KEEP_FREE: u64 = 64 << 20;

/// Whom a program of the host believes, over TLS.
const CERTIFICATES: &str = "/etc/ssl/certs";

/// A release, what it has as its state, and a log.
#[derive(Clone)]
pub(super) struct Room {
    pub(super) tree: PathBuf,
    pub(super) state: StateView,
    pub(super) limits: Limits,
    /// First bytes kept of each attempt.
    pub(super) first_bytes: usize,
    pub(super) log: PathBuf,
    /// Bytes that must stay free where the state is: the operator's `free-space`.
    pub(super) keep_free: u64,
    /// Protections that the operator lowered.
    pub(super) lower: Vec<Lowerable>,
}

/// The operator's limits.
fn limits(shadow: &config::Shadow) -> Limits {
    Limits { memory: shadow.memory, processes: shadow.processes, ..Limits::default() }
}

impl Room {
    pub(super) fn new(tree: PathBuf, state: StateView, config: &Config, log: &Path) -> Self {
        let (limits, log) = (limits(&config.shadow), log.to_owned());
        let (lower, first_bytes) = (config.shadow.lower.clone(), config.shadow.first_bytes);
        Self { tree, state, limits, first_bytes, log, keep_free: config.free_space, lower }
    }

    /// The release's own command, with its sockets.
    pub(super) fn node(&self, launch: &Launch) -> Result<Sandbox, DiskError> {
        let words = fill(&launch.command, &[("state", STATE)]);
        let sandbox = self.sandbox(launch, &words, self.limits.clone())?;
        let sandbox = sandbox.listen(launch.listen.clone());
        Ok(if launch.ready == Ready::Notify { sandbox.notify() } else { sandbox })
    }

    /// A command on the copy: a migration, or one that makes up an identity.
    pub(super) fn command(
        &self,
        launch: &Launch,
        words: &[String],
        wall: Duration,
    ) -> Result<Sandbox, DiskError> {
        self.sandbox(launch, words, Limits { wall: Some(wall), ..self.limits.clone() })
    }

    fn sandbox(
        &self,
        launch: &Launch,
        words: &[String],
        limits: Limits,
    ) -> Result<Sandbox, DiskError> {
        drop_sockets(self.state.written_to())?;
        let file_bytes = longest_file(&self.state.seen())?;
        let sandbox = self.stateless(launch, words, Limits { file_bytes, ..limits })?;
        Ok(with_state(sandbox, &self.state, self.keep_free))
    }

    /// A command beside the node: it has the release and no state.
    pub(super) fn visitor(
        &self,
        launch: &Launch,
        words: &[String],
        wall: Duration,
    ) -> Result<Sandbox, DiskError> {
        self.stateless(launch, words, Limits { wall: Some(wall), ..self.limits.clone() })
    }

    fn stateless(
        &self,
        launch: &Launch,
        words: &[String],
        limits: Limits,
    ) -> Result<Sandbox, DiskError> {
        let mut command: Vec<OsString> = words.iter().map(OsString::from).collect();
        if let Some(program) = command.first_mut() {
            *program = Path::new(TREE).join(&*program).into_os_string();
        }
        let log = File::options().append(true).open(&self.log).on_disk("write", &self.log)?;
        let mut sandbox = plain(command, limits)
            .lower(self.lower.iter().copied())
            .first_bytes(self.first_bytes)
            .mount(Mount::ReadOnly { from: self.tree.clone(), to: TREE.into() })
            .output(log, super::MAX_OUTPUT);
        for (name, value) in &launch.environment {
            sandbox = sandbox.environment(name, value);
        }
        Ok(sandbox)
    }
}

/// Gives it a state to be written, but not all of the disk that it lies on.
pub(super) fn with_state(sandbox: Sandbox, state: &StateView, keep_free: u64) -> Sandbox {
    sandbox.mount(state.mount()).work_dir(STATE).keep_free(keep_free)
}

/// How long a file may get, given the state to begin with.
pub(super) fn longest_file(state: &[&Path]) -> Result<u64, DiskError> {
    let mut size = 0_u64;
    for dir in state {
        size = size.saturating_add(size_below(dir)?);
    }
    Ok(size.saturating_mul(2).saturating_add(HEADROOM))
}

/// The length of all files below a directory together.
fn size_below(dir: &Path) -> Result<u64, DiskError> {
    let mut size = 0_u64;
    each_file(dir, &mut |_, meta| {
        size = size.saturating_add(meta.len());
        Ok(())
    })?;
    Ok(size)
}

/// A migration may leave sockets behind at which nobody is any more. The copy of a state has none, and the sandbox
/// takes none.
fn drop_sockets(state: &Path) -> Result<(), DiskError> {
    each_file(state, &mut |path, meta| {
        if meta.file_type().is_socket() { fs::remove_file(path) } else { Ok(()) }
    })
}

type Visit<'a> = dyn FnMut(&Path, &fs::Metadata) -> io::Result<()> + 'a;

/// Visits what is no directory below a directory, following no link. Deeper than a path may be long is an error.
fn each_file(dir: &Path, visit: &mut Visit<'_>) -> Result<(), DiskError> {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).on_disk("read", &dir)? {
            let path = entry.on_disk("read", &dir)?.path();
            let meta = fs::symlink_metadata(&path).on_disk("look at", &path)?;
            if meta.is_dir() {
                dirs.push(path);
            } else {
                visit(&path, &meta).on_disk("prepare", &path)?;
            }
        }
    }
    Ok(())
}

/// A sandbox with the host's programs and libraries, and a sinkhole for a network. What it writes is not executed.
pub(super) fn plain(command: Vec<OsString>, limits: Limits) -> Sandbox {
    let mut sandbox = Sandbox::new(command)
        .environment("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .environment("HOME", "/tmp")
        .environment("LANG", "C.UTF-8")
        .identity(Identity {
            user: "node".to_owned(),
            hostname: "node".to_owned(),
            ..Identity::default()
        })
        .limits(limits)
        .given_programs()
        .network(Network::Sinkhole)
        .attribute()
        .host_programs();
    if Path::new(CERTIFICATES).exists() {
        let path = PathBuf::from(CERTIFICATES);
        sandbox = sandbox.mount(Mount::ReadOnly { from: path.clone(), to: path });
    }
    sandbox
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_file_may_grow_to_twice_the_state_and_some_room() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [0; 1000]).unwrap();
        assert_eq!(longest_file(&[dir.path()]).unwrap(), 2000 + HEADROOM);
        assert_eq!(longest_file(&[]).unwrap(), HEADROOM);
    }

    #[test]
    fn sockets_left_by_a_migration_are_not_given_to_the_node() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        drop(UnixListener::bind(dir.path().join("left")).unwrap());
        drop_sockets(dir.path()).unwrap();
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
    }
}
