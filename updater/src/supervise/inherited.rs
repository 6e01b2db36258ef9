//! Listening sockets that systemd opened and passed on (`LISTEN_FDS`): used where name and address are what the node wants.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::SuperviseError;
use super::sockets::Sockets;

/// Takes what was passed on. What does not fit is told and closed, and the supervisor opens its own: a socket unit that
/// was not changed with the configuration keeps no node down.
pub(super) fn sockets(
    wanted: &[(String, SocketAddr)],
    tell: &mut dyn FnMut(&str),
) -> Result<Sockets, SuperviseError> {
    let failed = |source| SuperviseError::System { what: "take over sockets of systemd", source };
    let passed = sd_listen_fds::get().map_err(|error| failed(io::Error::other(error)))?;
    let (mut names, mut listeners) = (Vec::<(String, SocketAddr)>::new(), Vec::new());
    for (name, fd) in passed {
        let (name, fd) = (name.unwrap_or_default(), fd.into_std());
        // Each process of the node is passed its own copy; nothing else gets one.
        fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .map_err(|errno| failed(errno.into()))?;
        match fitting(&name, fd, wanted) {
            Ok((address, listener)) if !names.iter().any(|(known, _)| *known == name) => {
                tell(&format!("socket {name} comes from systemd"));
                names.push((name, address));
                listeners.push(listener);
            }
            Ok(_) => tell(&format!("systemd passed a second socket {name}: it is closed")),
            Err(reason) => {
                tell(&format!("systemd passed a socket {name:?}, {reason}: it is closed"));
            }
        }
    }
    Ok(Sockets::adopt(&names, listeners))
}

/// The socket with the address under which the node wants it.
fn fitting(
    name: &str,
    fd: OwnedFd,
    wanted: &[(String, SocketAddr)],
) -> Result<(SocketAddr, TcpListener), String> {
    let wanted = wanted.iter().find(|(known, _)| known == name);
    let (_, wanted) = wanted.ok_or("which the node does not have")?;
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().map_err(|_| "which is not TCP")?;
    let any_port = wanted.port() == 0 && wanted.ip() == address.ip();
    if address == *wanted || any_port {
        Ok((*wanted, listener))
    } else {
        Err(format!("which listens on {address} where the node wants {wanted}"))
    }
}
