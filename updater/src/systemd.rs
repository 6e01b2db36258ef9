//! What systemd is told (`sd_notify`) and what it wants to be installed (units). Without it nothing of this does anything.

pub mod units;

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Says something to whoever started this process: `READY=1`, `STATUS=…`. Nobody listening is no error, and whoever
/// listens badly does not hold us up.
pub fn notify(text: &str) {
    let _nobody_listens = try_notify(text);
}

/// `STATUS=`: one line for `systemctl status`.
pub fn status(sentence: &str) {
    let line: String =
        sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    notify(&format!("STATUS={line}"));
}

fn try_notify(text: &str) -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

/// How often this process must say `WATCHDOG=1`, if it must.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let time = number("WATCHDOG_USEC").filter(|time| meant && *time > 0)?;
    Some(Duration::from_micros(time))
}
