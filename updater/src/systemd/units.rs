//! Hardened units for one node: its supervisor, its agent, and sockets if systemd is to hold them.
//!
//! ```text
//! countersign-node@NAME.service        `supervise`: the node lives in it
//! countersign-agent@NAME.service       `run`: may be stopped and started at will
//! countersign-node@NAME-SOCKET.socket  one for each listening socket, where they are asked for
//! ```
//!
//! The two are hardened differently. The node needs next to nothing. The agent makes sandboxes: namespaces and mounts of its
//! own, with a `/proc` that nothing is mounted over, or the kernel refuses a new one inside.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What the units are made from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The part of the names after `@`.
    pub name: String,
    /// This program, as it is installed.
    pub program: PathBuf,
    /// The node directory.
    pub node: PathBuf,
    /// Who owns it, and so who runs this.
    pub user: String,
    /// The lease that nodes of this host share, if they do.
    pub lease: Option<PathBuf>,
    /// The node's listening sockets.
    pub listen: Vec<(String, SocketAddr)>,
    /// Whether systemd opens them and passes them on.
    pub sockets: bool,
}

/// A path that no unit can name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot be named in a unit: it is not plain text")]
pub struct BadPath(PathBuf);

/// Both units may be as hard as this: nothing of it is needed by a supervisor, a node or a sandbox.
const BOTH: &str = "\
NoNewPrivileges=yes
UMask=0077
ProtectSystem=strict
PrivateTmp=yes
ProtectKernelModules=yes
ProtectClock=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
";

/// What only the node's unit can do without.
const NODE: &str = "\
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
";

/// What the agent's sandboxes need: packet sockets and netlink inside their own network, mounts inside their own tree. The memory
/// of a shadow is bounded by a cgroup of its own.
const AGENT: &str = "\
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
Delegate=memory pids cpu
";

impl Plan {
    /// Every unit: its file name and its text.
    ///
    /// # Errors
    /// A path cannot be written in a unit.
    pub fn units(&self) -> Result<Vec<(String, String)>, BadPath> {
        let mut units = vec![
            (self.service("node"), self.node_unit()?),
            (self.service("agent"), self.agent_unit()?),
        ];
        if self.sockets {
            let sockets = self.listen.iter();
            units.extend(sockets.map(|(name, address)| self.socket_unit(name, *address)));
        }
        Ok(units)
    }

    fn service(&self, role: &str) -> String {
        format!("countersign-{role}@{}.service", self.name)
    }

    fn socket(&self, socket: &str) -> String {
        format!("countersign-node@{}-{socket}.socket", self.name)
    }

    fn node_unit(&self) -> Result<String, BadPath> {
        let Self { name, user, .. } = self;
        let mut text = format!(
            "[Unit]\nDescription={name}, kept running by its supervisor\n\
             Wants=network-online.target\nAfter=network-online.target\n"
        );
        let sockets: Vec<_> = self.listen.iter().map(|(socket, _)| self.socket(socket)).collect();
        if self.sockets && !sockets.is_empty() {
            let all = sockets.join(" ");
            _ = write!(text, "Requires={all}\nAfter={all}\n");
        }
        _ = write!(
            text,
            "\n[Service]\nType=notify\nUser={user}\nExecStart={} supervise {}\n",
            command(&self.program)?,
            command(&self.node)?
        );
        if self.sockets && !sockets.is_empty() {
            _ = writeln!(text, "Sockets={}", sockets.join(" "));
        }
        // A node outlives a supervisor that is killed: the next one stops it in peace. So systemd ends nothing but the supervisor, and waits
        // longer than that waits for the node.
        text += "Restart=always\nRestartSec=1\nKillMode=process\nTimeoutStopSec=11min\nOOMPolicy=continue\nWatchdogSec=60\n\n";
        text += BOTH;
        text += NODE;
        let low = self.listen.iter().any(|(_, address)| (1..1024).contains(&address.port()));
        if low && !self.sockets {
            text += "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n";
        } else {
            text += "CapabilityBoundingSet=\n";
        }
        self.paths(&mut text, &[&self.node])?;
        text += "\n[Install]\nWantedBy=multi-user.target\n";
        Ok(text)
    }

    fn agent_unit(&self) -> Result<String, BadPath> {
        let Self { name, user, .. } = self;
        let node = self.service("node");
        let mut text = format!(
            "[Unit]\nDescription=Updates of {name}\nWants=network-online.target {node}\n\
             After=network-online.target {node}\n\n[Service]\nType=notify\nUser={user}\n\
             ExecStart={} run {}\n",
            command(&self.program)?,
            command(&self.node)?
        );
        // Told to end in the midst of a swap, it first brings the node back up.
        text += "Restart=always\nRestartSec=5\nKillMode=mixed\nTimeoutStopSec=15min\nNice=5\n\n";
        text += BOTH;
        text += AGENT;
        // As root it would need them all; as anybody else it has none, and all that it needs in its own namespaces.
        if user != "root" {
            text += "CapabilityBoundingSet=\n";
        }
        let lease = self.lease.as_deref().and_then(Path::parent);
        let paths: Vec<&Path> = std::iter::once(self.node.as_path()).chain(lease).collect();
        self.paths(&mut text, &paths)?;
        text += "\n[Install]\nWantedBy=multi-user.target\n";
        Ok(text)
    }

    fn paths(&self, text: &mut String, writable: &[&Path]) -> Result<(), BadPath> {
        let homes = ["/home", "/root", "/run/user"];
        let below = |path: &Path| homes.iter().any(|home| path.starts_with(home));
        let protect = if below(&self.node) || below(&self.program) { "read-only" } else { "yes" };
        _ = writeln!(text, "ProtectHome={protect}");
        for path in writable {
            _ = writeln!(text, "ReadWritePaths={}", quoted(path)?);
        }
        Ok(())
    }

    fn socket_unit(&self, socket: &str, address: SocketAddr) -> (String, String) {
        let Self { name, .. } = self;
        let text = format!(
            "[Unit]\nDescription={name}, its socket {socket}\n\n\
             [Socket]\nListenStream={address}\nFileDescriptorName={socket}\nBacklog=4096\nService={}\n\n\
             [Install]\nWantedBy=sockets.target\n",
            self.service("node")
        );
        (self.socket(socket), text)
    }
}

/// A path as a value: specifiers and quotes mean nothing in it.
fn quoted(path: &Path) -> Result<String, BadPath> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| BadPath(path.to_owned()))?;
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b));
    if plain {
        return Ok(text.to_owned());
    }
    let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    Ok(format!("\"{text}\""))
}

/// A path as a word of a command: variables mean nothing in it either.
fn command(path: &Path) -> Result<String, BadPath> {
    quoted(path).map(|text| text.replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_nothing_but_itself() {
        for (path, wanted) in [
            ("/srv/node-1", "/srv/node-1"),
            ("/srv/my node", "\"/srv/my node\""),
            ("/srv/%h/\"$HOME\"\\", "\"/srv/%%h/\\\"$$HOME\\\"\\\\\""),
        ] {
            assert_eq!(command(Path::new(path)).unwrap(), wanted);
        }
        assert!(command(Path::new("/srv/a\nExecStart=/bin/sh")).is_err());
    }
}
