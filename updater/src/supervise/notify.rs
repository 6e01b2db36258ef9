//! `NOTIFY_SOCKET`: one datagram socket for each start, so that an old process cannot speak for a new one.

use std::fs;
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread;

use super::SuperviseError;
use super::core::Event;

/// Listens for `READY=1` until it is dropped.
#[derive(Debug)]
pub(super) struct NotifySocket {
    path: PathBuf,
    socket: UnixDatagram,
}

impl NotifySocket {
    /// Opens the socket of start number `start`; what comes in becomes events.
    pub(super) fn open(
        dir: &Path,
        start: u64,
        events: Sender<Event>,
    ) -> Result<Self, SuperviseError> {
        let path = dir.join(format!("notify-{start}.sock"));
        let failed = |source| SuperviseError::System { what: "open NOTIFY_SOCKET", source };
        let _not_there = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).map_err(failed)?;
        Self::adopt(path, socket, start, events)
    }

    /// Goes on listening at a socket that is open.
    pub(super) fn adopt(
        path: PathBuf,
        socket: UnixDatagram,
        start: u64,
        events: Sender<Event>,
    ) -> Result<Self, SuperviseError> {
        let failed = |source| SuperviseError::System { what: "open NOTIFY_SOCKET", source };
        let receiver = socket.try_clone().map_err(failed)?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Zero bytes: the socket was shut down. A datagram that is empty says nothing either.
            while let Ok(length @ 1..) = receiver.recv(&mut buffer) {
                let ready = buffer[..length].split(|b| *b == b'\n').any(|line| line == b"READY=1");
                if ready && events.send(Event::Ready(start)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { path, socket })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, to be passed on.
    pub(super) fn socket(&self) -> std::io::Result<UnixDatagram> {
        self.socket.try_clone()
    }

    /// How the environment of every process of this start names it, unless one of them cleared it.
    pub(super) fn variable(&self) -> Vec<u8> {
        [b"NOTIFY_SOCKET=", self.path.as_os_str().as_bytes()].concat()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _already = self.socket.shutdown(Shutdown::Both);
        let _gone = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn readiness_is_heard_and_the_listener_ends_with_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let (events, heard) = mpsc::channel();
        let socket = NotifySocket::open(dir.path(), 7, events).unwrap();
        let node = UnixDatagram::unbound().unwrap();
        node.send_to(b"STATUS=loading", socket.path()).unwrap();
        node.send_to(b"STATUS=ok\nREADY=1\n", socket.path()).unwrap();
        assert!(matches!(heard.recv().unwrap(), Event::Ready(7)));
        drop(socket);
        assert!(heard.recv().is_err(), "the listener still holds the channel");
    }
}
