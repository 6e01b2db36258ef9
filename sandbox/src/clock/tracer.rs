//! The loop that attends the process tree: every stop of every thread passes here.

use std::collections::HashMap;
use std::io;

use libc::{c_int, c_uint};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::deadline::Borrowed;
use super::jitter::Jitter;
use super::random::Held;
use super::registers::Call;
use super::wall::Wall;
use super::{Ended, answer, deadline, is, vdso};
use crate::options::{Machine, Random};

/// How a stop at a system call differs from a `SIGTRAP`, thanks to `PTRACE_O_TRACESYSGOOD`.
const SYSTEM_CALL: c_int = libc::SIGTRAP | 0x80;

/// Waits for the payload without tracing anything, and reaps all others.
pub(super) fn reap(payload: Pid) -> io::Result<Ended> {
    loop {
        let (pid, status) = wait(None, 0)?;
        if let Some(ended) = ended(status)
            && pid == payload
        {
            return Ok(ended);
        }
    }
}

/// Seizes the payload, which stops itself, and attends to the tree until the payload ends.
pub(super) fn attend(payload: Pid, machine: &Machine) -> io::Result<Ended> {
    let (_, status) = wait(Some(payload), libc::WUNTRACED)?;
    if let Some(ended) = ended(status) {
        return Ok(ended);
    }
    let options = Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACESECCOMP
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE;
    ptrace::seize(payload, options)?;
    kill(payload, Signal::SIGCONT)?;

    let mut tracer = Tracer {
        wall: Wall::start(machine.clock)?,
        held: match machine.random {
            Random::Real => None,
            Random::Held(seed) => Some(Held::new(seed)),
        },
        jitter: machine.jitter.map(Jitter::new),
        pending: HashMap::new(),
    };
    loop {
        let (pid, status) = wait(None, 0)?;
        match ended(status) {
            Some(ended) if pid == payload => return Ok(ended),
            Some(_) => tracer.gone(pid),
            None => match tracer.stopped(pid, status) {
                // Killed in the meantime; its end is reported by itself.
                Err(error) if is(&error, Errno::ESRCH) => {}
                other => other.map_err(|error| refused(pid, &error))?,
            },
        }
    }
}

struct Tracer {
    wall: Option<Wall>,
    held: Option<Held>,
    jitter: Option<Jitter>,
    /// The threads in a call that waits for a translated deadline.
    pending: HashMap<Pid, Borrowed>,
}

impl Tracer {
    fn gone(&mut self, pid: Pid) {
        self.pending.remove(&pid);
        if let Some(held) = &mut self.held {
            held.gone(pid);
        }
    }

    /// Does what a stop is for and lets the thread go on.
    fn stopped(&mut self, pid: Pid, status: c_int) -> io::Result<()> {
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 if signal == SYSTEM_CALL => {
                if let Some(borrowed) = self.pending.remove(&pid) {
                    borrowed.give_back(&mut Call::read(pid)?)?;
                }
                resume(libc::PTRACE_CONT, pid, 0)
            }
            // A signal on its way, SIGTRAP included: all of ours come with an event.
            0 => resume(libc::PTRACE_CONT, pid, signal),
            libc::PTRACE_EVENT_SECCOMP => self.called(pid),
            libc::PTRACE_EVENT_EXEC => {
                // Another thread of the process may have called execve and taken this number over.
                self.pending.remove(&pid);
                self.executed(pid)?;
                resume(libc::PTRACE_CONT, pid, 0)
            }
            // The whole process was stopped by job control and is to stay so until SIGCONT.
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => {
                resume(libc::PTRACE_LISTEN, pid, 0)
            }
            // A new thread's first stop, or its parent's.
            event => {
                if let (libc::PTRACE_EVENT_STOP, Some(held)) = (event, &mut self.held) {
                    held.born(pid);
                }
                if let Some(jitter) = &mut self.jitter {
                    jitter.pause();
                }
                resume(libc::PTRACE_CONT, pid, 0)
            }
        }
    }

    /// A program has taken a process over, and has not done anything yet.
    fn executed(&mut self, pid: Pid) -> io::Result<()> {
        let random = self.held.as_mut().map(|held| held.executed(pid));
        if self.wall.is_some() || random.is_some() {
            vdso::hide(pid, Call::read(pid)?.stack(), random.as_deref())?;
        }
        if let Some(jitter) = &mut self.jitter {
            jitter.reprioritise(pid);
            jitter.pause();
        }
        Ok(())
    }

    /// A system call that the filter picked out.
    fn called(&mut self, pid: Pid) -> io::Result<()> {
        let mut call = Call::read(pid)?;
        if let Some(value) = self.answer(&call)? {
            call.skip(value)?;
        } else if let Some(wall) = &self.wall
            && let Some(borrowed) = deadline::translate(&mut call, wall)?
        {
            self.pending.insert(pid, borrowed);
            return resume(libc::PTRACE_SYSCALL, pid, 0);
        }
        resume(libc::PTRACE_CONT, pid, 0)
    }

    /// What the caller gets in place of the kernel's answer, if the kernel is not to be asked.
    fn answer(&mut self, call: &Call) -> io::Result<Option<i64>> {
        match call.number() {
            // Stopped only if the child is to be untraced.
            libc::SYS_clone => return Ok(Some(answer::error(Errno::EPERM))),
            libc::SYS_clone3 => return Ok(Some(answer::error(Errno::ENOSYS))),
            _ => {}
        }
        if let Some(wall) = &self.wall
            && let Some(value) = answer::result(call, wall)?
        {
            return Ok(Some(value));
        }
        match &mut self.held {
            Some(held) => held.answer(call),
            None => Ok(None),
        }
    }
}

/// Resumes a stopped thread, delivering `signal` unless 0. The enums of `nix` know neither real-time
/// signals, which threads of the C library send each other, nor `PTRACE_LISTEN`.
fn resume(request: c_uint, pid: Pid, signal: c_int) -> io::Result<()> {
    let nowhere = std::ptr::null_mut::<libc::c_void>();
    let signal = libc::c_long::from(signal);
    // SAFETY: these requests ignore the address, take a number and touch no memory of ours.
    let result = unsafe { libc::ptrace(request, pid.as_raw(), nowhere, signal) };
    Errno::result(result)?;
    Ok(())
}

/// The next report of `pid` or, if `None`, of any child or tracee, threads included.
fn wait(pid: Option<Pid>, options: c_int) -> io::Result<(Pid, c_int)> {
    let which = pid.map_or(-1, Pid::as_raw);
    let mut status = 0;
    loop {
        // SAFETY: waitpid writes one integer to `status`, which outlives the call.
        let result = unsafe { libc::waitpid(which, &raw mut status, options | libc::__WALL) };
        match Errno::result(result) {
            Ok(pid) => return Ok((Pid::from_raw(pid), status)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Names the process: it hid its memory from a tracer without privileges, most likely.
fn refused(pid: Pid, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("process {pid} cannot be shown another machine: {error}"))
}

/// How the reported process ended; `None` if it only stopped.
fn ended(status: c_int) -> Option<Ended> {
    if libc::WIFEXITED(status) {
        Some(Ended::Code(libc::WEXITSTATUS(status)))
    } else if libc::WIFSIGNALED(status) {
        Some(Ended::Signal(libc::WTERMSIG(status)))
    } else {
        None
    }
}
