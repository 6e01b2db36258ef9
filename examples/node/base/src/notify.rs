//! Telling the supervisor: `sd_notify(3)` in its two lines that matter here.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::failure::{OrFail, Outcome};

/// Sends `message` to `NOTIFY_SOCKET`; does nothing when nobody asked to be told.
pub(crate) fn notify(message: &str) -> Outcome<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    send(name.as_bytes(), message)
        .or_fail(format_args!("tell {message:?} to the supervisor at {}", name.display()))
}

/// `@NAME` is the abstract socket NAME, anything else a path.
fn send(name: &[u8], message: &str) -> io::Result<()> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}
