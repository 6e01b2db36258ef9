//! What this machine and this node directory have to offer, each lack with what would help.

mod host;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde::Serialize;

use crate::fetch::free_bytes;
use crate::generation::Generation;
use crate::state::ladder::{self, Rung};
use crate::supervise::{self, Share};
use crate::trust_store::chain;
use crate::{Config, Home, stage};

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub name: String,
    /// What it is good for.
    pub what: String,
    /// What is wrong; `None` if nothing is.
    pub trouble: Option<Trouble>,
}

/// Something wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Trouble {
    /// What.
    pub text: String,
    /// What would help.
    pub hint: String,
    /// Whether the node needs it. What it can do without is told all the same.
    pub needed: bool,
}

/// Longest path of a Unix socket, in bytes, its end included.
const MAX_SOCKET_PATH: usize = 108;

fn finding(name: &str, what: &str, trouble: Option<(String, &str)>) -> Finding {
    let trouble = trouble.map(|(text, hint)| Trouble { text, hint: hint.to_owned(), needed: true });
    Finding { name: name.to_owned(), what: what.to_owned(), trouble }
}

/// The protections of the sandbox. Without one that is needed, nothing is run in a shadow.
pub fn machine() -> Vec<Finding> {
    let capabilities = countersign_sandbox::capabilities().into_iter();
    let look = |c: countersign_sandbox::Capability| {
        let (needed, hint) = match c.name {
            "memory limit" => (
                true,
                "run as root or in a delegated cgroup, or lower this one: [shadow] memory = \"none\"",
            ),
            "landlock" => (
                true,
                "boot with lsm=landlock,… (Linux 5.19), or lower this one: [shadow] lower = [\"landlock\", \"programs\"]",
            ),
            "process group limit" => (false, "not needed: a resource limit bounds processes too"),
            "overlay" => (false, "a shadow runs on a second copy of the state instead"),
            "clock" => (false, "not needed on a node: builders use it"),
            _ => (true, "shadows are refused on this machine until it has this"),
        };
        let mut found = finding(c.name, c.what, c.missing.map(|missing| (missing, hint)));
        if let Some(trouble) = &mut found.trouble {
            trouble.needed = needed;
        }
        found
    };
    capabilities.map(look).chain(host::machine()).collect()
}

/// Why memory cannot be bounded on this machine, if it cannot.
pub fn memory_limit_missing() -> Option<String> {
    let mut capabilities = countersign_sandbox::capabilities().into_iter();
    capabilities.find(|c| c.name == "memory limit").and_then(|c| c.missing)
}

/// What the node directory looks like.
pub fn node(home: &Home, config: &Config) -> Vec<Finding> {
    let mut findings = vec![space(home, config), seed(home), socket_path(home)];
    findings.extend(host::node(home, config));
    let supervised = UnixStream::connect(home.supervisor_socket());
    findings.push(finding(
        "supervisor",
        "owns the sockets and the node's process",
        supervised.as_ref().err().map(|error| {
            (format!("it does not answer: {error}"), "start countersign-updater supervise NODE")
        }),
    ));
    match Generation::current(home) {
        Err(error) => findings.push(finding(
            "current",
            "names what runs",
            Some((chain(&error), "countersign-updater history NODE says what happened")),
        )),
        Ok(None) => findings.push(finding(
            "current",
            "names what runs",
            Some(("it is not there".to_owned(), "point it to a generation below generations/")),
        )),
        Ok(Some(running)) => {
            findings.push(stored(home, &running));
            findings.push(copies(home, &running));
            findings.extend(config.shadow.mirror.map(|share| mirror(share, &running)));
            if supervised.is_err() {
                findings.extend(running.launch.listen.iter().map(|(name, address)| {
                    let bound = TcpListener::bind(address);
                    finding(
                        &format!("socket {name}"),
                        "an address that the node listens on",
                        bound.err().map(|error| {
                            let hint = "stop what uses it, or move it below [listen]";
                            (format!("{address}: {error}"), hint)
                        }),
                    )
                }));
            }
        }
    }
    findings
}

/// By which rung of the ladder the state of the running node can be copied here.
fn copies(home: &Home, running: &Generation) -> Finding {
    let probed = ladder::probe(&running.state_dir(home), &home.shadow());
    let what = match (&probed, &running.launch.checkpoint) {
        (Ok(rung), None) => rung.sentence().to_owned(),
        (Ok(rung), Some(_)) => format!("{}, else {}", Rung::Checkpoint.sentence(), rung.sentence()),
        (Err(_), _) => "for shadows, and before a swap".to_owned(),
    };
    let hint = "run doctor as the owner of the node directory";
    finding("state copies", &what, probed.err().map(|error| (chain(&error), hint)))
}

/// Whether live traffic can be mirrored as the operator wants it, and what the node sees of that.
fn mirror(share: Share, running: &Generation) -> Finding {
    let [a, b, c] = supervise::TEE_SOURCE;
    let what = format!(
        "while a release is tried, {share} of new connections reach the node from {a}.{b}.{c}.0/24"
    );
    let hint = "a node that listens on IPv4 or on [::] is mirrored";
    let mut found = finding("mirrored traffic", &what, None);
    found.trouble = supervise::tee_trouble(&running.launch.listen).map(|text| Trouble {
        text,
        hint: hint.to_owned(),
        needed: false,
    });
    found
}

fn space(home: &Home, config: &Config) -> Finding {
    let trouble = match free_bytes(home.path()) {
        Ok(free) if free >= config.free_space => None,
        Ok(free) => Some((
            format!("{free} bytes are free, {} are to stay free", config.free_space),
            "make space, or lower free-space in countersign-updater.toml",
        )),
        Err(error) => Some((chain(&error), "look at the disk")),
    };
    finding("disk space", "updates, copies of the state, snapshots", trouble)
}

fn seed(home: &Home) -> Finding {
    let path = home.path().join("seed");
    let open = path.metadata().is_ok_and(|m| m.permissions().mode() & 0o077 != 0);
    let trouble = match home.seed() {
        Err(error) => Some((chain(&error), "restore it from a backup of the node directory")),
        Ok(_) if open => Some(("others may read it".to_owned(), "chmod 600 NODE/seed")),
        Ok(_) => None,
    };
    finding("seed", "the hold-off is drawn from it", trouble)
}

fn socket_path(home: &Home) -> Finding {
    let length = home.supervisor_socket().as_os_str().len() + 1;
    let trouble = (length > MAX_SOCKET_PATH).then(|| {
        let text = format!("{length} bytes; a socket's path has at most {MAX_SOCKET_PATH}");
        (text, "install the node in a directory with a shorter path")
    });
    finding("path length", "the supervisor's socket", trouble)
}

fn stored(home: &Home, running: &Generation) -> Finding {
    let trouble = match stage::reopen(home, &running.binary) {
        Ok(Some(_)) => None,
        Ok(None) => Some((
            format!("{} is not in the store", running.binary.short()),
            "the node keeps running; do not restart it, fetch the release first",
        )),
        Err(error) => {
            Some((chain(&error), "the disk changed it; the next update brings a whole one"))
        }
    };
    finding("running release", "every byte is what was signed", trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_others_may_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        assert!(seed(&home).trouble.is_none());
        let path = home.path().join("seed");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(seed(&home).trouble.is_some());
        std::fs::write(&path, b"short").unwrap();
        assert!(seed(&home).trouble.is_some());
    }
}
