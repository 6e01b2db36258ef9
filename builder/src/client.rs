//! Runs a client of the machine (git, npm, pip, cargo, apt) with an end: by a signal that asks for one, or by the clock.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Most that is kept of what it says.
const MAX_OUTPUT: u64 = 64 << 20;

/// Runs a command to its end, with nothing on its standard input. It and what it started are gone afterwards.
///
/// # Errors
/// It cannot be run, takes longer than others are waited for, or a signal asked for an end.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    let child = tied(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut group = Group(child);
    let stdout = reader(group.0.stdout.take());
    let stderr = reader(group.0.stderr.take());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = group.0.try_wait()? {
            break status;
        }
        if crate::interrupt::asked() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "a signal asked for an end"));
        }
        if begun.elapsed() > crate::patience::longest() {
            return Err(crate::patience::over());
        }
        std::thread::sleep(LOOK);
    };
    // What it left running holds the pipes open.
    group.end();
    let lost = || io::Error::other("a reader was lost");
    let stdout = stdout.join().map_err(|_| lost())??;
    let stderr = stderr.join().map_err(|_| lost())??;
    Ok(Output { status, stdout, stderr })
}

/// The same command, which the kernel ends should this process be killed. Without the `setpriv` of util-linux (that of
/// busybox knows no such thing) it runs on to its own end.
fn tied(command: &Command) -> Command {
    let is_whole =
        |path: &&str| Path::new(path).canonicalize().is_ok_and(|real| real.ends_with("setpriv"));
    let tie = ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(is_whole);
    let mut tied = match tie {
        Some(tie) => {
            let mut tied = Command::new(tie);
            tied.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
            tied
        }
        None => Command::new(command.get_program()),
    };
    tied.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        tied.current_dir(dir);
    }
    tied
}

fn reader(
    pipe: Option<impl Read + Send + 'static>,
) -> std::thread::JoinHandle<io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes)?;
            io::copy(&mut pipe, &mut io::sink())?;
        }
        Ok(bytes)
    })
}

/// A process and all that it starts; killed when dropped.
struct Group(Child);

impl Group {
    fn end(&self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            let _gone_already = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
        let _gone_already = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_leaves_running_is_ended_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; echo told >&2; exit 3"]);
        let output = output(&mut command).unwrap();
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(3), &b"told\n"[..]));
        assert!(!output.stdout.is_empty());
    }
}
