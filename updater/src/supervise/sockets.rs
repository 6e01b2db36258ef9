//! Listening sockets: opened once, kept for ever, passed to every process of the node in turn.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use nix::sys::socket::{Backlog, listen};

use super::SuperviseError;

/// Connections that may queue while nobody accepts. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The open sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<(String, SocketAddr, TcpListener)>);

impl Sockets {
    /// Opens what is not open yet. A socket whose name and address stay the same is never closed; one that the
    /// generation does not want any more is kept until [`Sockets::keep_only`].
    pub(super) fn open(&mut self, wanted: &[(String, SocketAddr)]) -> Result<(), SuperviseError> {
        for (name, address) in wanted {
            if self.find(name, *address).is_some() {
                continue;
            }
            let failed =
                |source| SuperviseError::Listen { name: name.clone(), address: *address, source };
            // The standard library sets SO_REUSEADDR; its backlog is short.
            let listener = TcpListener::bind(address).map_err(failed)?;
            Backlog::new(BACKLOG)
                .and_then(|backlog| listen(&listener, backlog))
                .map_err(|errno| failed(errno.into()))?;
            self.0.push((name.clone(), *address, listener));
        }
        Ok(())
    }

    /// Closes what the generation that is ready now does not use.
    pub(super) fn keep_only(&mut self, wanted: &[(String, SocketAddr)]) {
        self.0.retain(|(name, address, _)| wanted.iter().any(|(n, a)| n == name && a == address));
    }

    /// Copies of the descriptors, in the order of `wanted`.
    pub(super) fn descriptors(
        &self,
        wanted: &[(String, SocketAddr)],
    ) -> Result<Vec<OwnedFd>, SuperviseError> {
        let open = wanted.iter().filter_map(|(name, address)| self.find(name, *address));
        open.map(|listener| listener.try_clone().map(OwnedFd::from))
            .collect::<Result<_, _>>()
            .map_err(|source| SuperviseError::System { what: "copy a listening socket", source })
    }

    fn find(&self, name: &str, address: SocketAddr) -> Option<&TcpListener> {
        self.0.iter().find(|(n, a, _)| n == name && *a == address).map(|(_, _, l)| l)
    }

    /// Names and addresses. Port 0 is shown as the port that the kernel chose.
    pub(super) fn list(&self) -> Vec<(String, SocketAddr)> {
        let real = |l: &TcpListener, a: &SocketAddr| l.local_addr().unwrap_or(*a);
        self.0.iter().map(|(name, a, listener)| (name.clone(), real(listener, a))).collect()
    }
}
