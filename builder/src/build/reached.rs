//! What a failed build reached for, at the end of its log: there is no network, and that is a common reason.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use countersign_sandbox::{Attempt, Protocol};

/// Lines that are written; a download tool tries many mirrors.
const MOST: usize = 20;

/// Appends to the log who tried to reach what.
pub(super) fn append(log: &Path, attempts: &[Attempt]) -> io::Result<()> {
    if attempts.is_empty() {
        return Ok(());
    }
    let mut file = File::options().append(true).open(log)?;
    writeln!(file, "\nA build has no network. This one tried to reach:")?;
    for attempt in attempts.iter().take(MOST) {
        writeln!(file, "  {}", line(attempt))?;
    }
    if attempts.len() > MOST {
        writeln!(file, "  and {} more", attempts.len() - MOST)?;
    }
    Ok(())
}

fn line(attempt: &Attempt) -> String {
    let who = attempt
        .processes
        .first()
        .map(|process| format!(", by {} (pid {})", process.command.escape_debug(), process.pid));
    let port = attempt.port.map(|port| format!(" port {port}")).unwrap_or_default();
    let name = attempt.name.as_deref().map(|name| name.escape_debug().to_string());
    let what = match (attempt.protocol, name, attempt.destination) {
        (Protocol::Dns, Some(name), _) => format!("the address of {name}"),
        (Protocol::Dns, None, _) => "a name server".to_owned(),
        (protocol, Some(name), _) => format!("{name}{port} ({})", how(protocol)),
        (protocol, None, Some(address)) => format!("{address}{port} ({})", how(protocol)),
        (protocol, None, None) => format!("somebody ({})", how(protocol)),
    };
    let times =
        if attempt.count > 1 { format!(", {} times", attempt.count) } else { String::new() };
    format!("{what}{times}{}", who.unwrap_or_default())
}

fn how(protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => "TCP".to_owned(),
        Protocol::Udp => "UDP".to_owned(),
        Protocol::Icmp => "ICMP".to_owned(),
        other => format!("{other:?}"),
    }
}
