//! The room that a shadow runs in: what it sees of this machine, and how much it may use up.
//!
//! ```text
//! /node    the release, read-only        /usr, /lib, … the machine's own programs and libraries, read-only
//! /state   the copy of the state         everything else is the sandbox's own
//! ```

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_metadata::node::{NodeSpec, Ready, fill};
use countersign_sandbox::{Identity, Limits, Mount, Network, Sandbox};

use crate::config;
use crate::durable::{DiskError, OnDisk};

/// Where the release is, inside.
pub(super) const TREE: &str = "/node";
/// Where the copy of the state is, inside.
pub(super) const STATE: &str = "/state";

/// What of the host a program that is not static needs. Links stay links.
const HOST: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
];

/// A release, a copy of the state, and a log.
pub(super) struct Room {
    pub(super) tree: PathBuf,
    pub(super) state: PathBuf,
    pub(super) limits: Limits,
    pub(super) log: PathBuf,
}

/// The operator's limits.
pub(super) fn limits(shadow: &config::Shadow) -> Limits {
    Limits { memory: shadow.memory, processes: shadow.processes, ..Limits::default() }
}

impl Room {
    /// The release's own command, with its sockets.
    pub(super) fn node(
        &self,
        spec: &NodeSpec,
        listen: &[(String, SocketAddr)],
    ) -> Result<Sandbox, DiskError> {
        let words = fill(&spec.command, &[("state", STATE)]);
        let sandbox = self.sandbox(spec, &words, self.limits.clone())?.listen(listen.to_vec());
        Ok(if spec.ready == Ready::Notify { sandbox.notify() } else { sandbox })
    }

    /// A migration command.
    pub(super) fn migration(
        &self,
        spec: &NodeSpec,
        words: &[String],
        wall: Duration,
    ) -> Result<Sandbox, DiskError> {
        self.sandbox(spec, words, Limits { wall: Some(wall), ..self.limits.clone() })
    }

    fn sandbox(
        &self,
        spec: &NodeSpec,
        words: &[String],
        limits: Limits,
    ) -> Result<Sandbox, DiskError> {
        let mut command: Vec<OsString> = words.iter().map(OsString::from).collect();
        if let Some(program) = command.first_mut() {
            *program = Path::new(TREE).join(&*program).into_os_string();
        }
        let log = File::options().append(true).open(&self.log).on_disk("write", &self.log)?;
        let mut sandbox = plain(command, limits)
            .mount(Mount::ReadOnly { from: self.tree.clone(), to: TREE.into() })
            .mount(Mount::Writable { from: self.state.clone(), to: STATE.into() })
            .work_dir(STATE)
            .output(log, super::MAX_OUTPUT);
        for (name, value) in &spec.environment {
            sandbox = sandbox.environment(name, value);
        }
        Ok(sandbox)
    }
}

/// A sandbox with the host's programs and libraries, and a sinkhole for a network.
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
        .network(Network::Sinkhole);
    for path in HOST.map(PathBuf::from) {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        sandbox = sandbox.mount(match fs::read_link(&path) {
            Ok(target) if metadata.is_symlink() => Mount::Link { to: path, target },
            _ => Mount::ReadOnly { from: path.clone(), to: path },
        });
    }
    sandbox
}
