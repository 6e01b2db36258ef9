//! Which process a thread belongs to, as seen inside.

use std::fs;

use nix::unistd::Pid;

use crate::attempt::Process;

/// The longest path of a program that is told.
const LONGEST: usize = 4096;

/// The process of a thread that waits for an answer; `None` when it was killed meanwhile.
pub(super) fn of(thread: Pid) -> Option<Process> {
    let pid = group(thread)?;
    // The kernel cuts names at 15 bytes; a process may call itself anything, in any bytes.
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let command = String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned();
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let program = program
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| path.len() <= LONGEST);
    Some(Process { pid: u32::try_from(pid.as_raw()).ok()?, command, program })
}

/// The process that a thread is of.
pub(super) fn group(thread: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let pid = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    Some(Pid::from_raw(pid.trim().parse().ok()?))
}
