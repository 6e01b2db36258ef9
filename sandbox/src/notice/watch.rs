//! Init's thread that hears every notice, notes it, and answers.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use libc::sock_filter;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::Pid;

use super::census::Census;
use super::commands::Commands;
use super::machine::Shown;
use super::{Told, Witness, begins, refusal};
use crate::options::Machine;
use crate::stage::seccomp;
use crate::stage::seccomp::told::LEFT;
use crate::sys::{self, Answer};

/// The running thread. It ends with the last process that it could hear of.
#[derive(Debug)]
pub(crate) struct Watch(JoinHandle<io::Result<Heard>>);

/// What it has heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The names of the calls that were used, where all are told.
    pub(crate) calls: BTreeSet<String>,
    /// The command lines that were watched for.
    pub(crate) seen: Vec<String>,
}

impl Watch {
    /// Waits for the listener at the other end of [`Told::arm`], then for notices.
    pub(crate) fn start(
        passage: UnixStream,
        told: Told,
        machine: &Machine,
        witness: Option<Witness>,
    ) -> io::Result<Self> {
        let ear = Ear {
            strict: seccomp::filter(),
            told,
            shown: machine.mask.clone().map(Shown::new).transpose()?,
            commands: Commands::new(machine.watch.clone()),
            witness,
            census: Census::default(),
            begun: false,
        };
        let thread = std::thread::Builder::new()
            .name("notices".to_owned())
            .spawn(move || watch(&passage, ear))?;
        Ok(Self(thread))
    }

    /// What was heard, when every process but init is gone.
    pub(crate) fn finish(self) -> io::Result<Heard> {
        self.0
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread for notices ended early")))
    }
}

/// When this returns, however it does, the listener is closed, and calls that would be told of fail.
fn watch(passage: &UnixStream, mut ear: Ear) -> io::Result<Heard> {
    // A payload that did not come so far has nothing to tell.
    let Some(listener) = take_listener(passage)? else { return Ok(Heard::default()) };
    sys::listen_synchronously(listener.as_fd());
    while wait(&listener)? {
        let Some(notice) = sys::receive_notice(listener.as_fd())? else { continue };
        let answer = ear.hear(listener.as_fd(), &notice);
        sys::answer_notice(listener.as_fd(), notice.id, answer)?;
    }
    Ok(Heard { calls: ear.census.names(), seen: ear.commands.seen })
}

struct Ear {
    strict: Vec<sock_filter>,
    told: Told,
    /// The machine that is shown in place of the real one.
    shown: Option<Shown>,
    commands: Commands,
    witness: Option<Witness>,
    census: Census,
    /// Whether the program was executed, or is about to be.
    begun: bool,
}

impl Ear {
    /// Notes a call, and answers it.
    fn hear(&mut self, listener: BorrowedFd<'_>, notice: &libc::seccomp_notif) -> Answer {
        // What is not left to init, the kernel has judged before it told.
        let judged = self.told == Told::Everything || LEFT.contains(&notice.data.nr.into());
        let refused = if judged { refusal(&self.strict, &notice.data) } else { None };
        let answer = refused.map_or(Answer::GoOn, Answer::Refuse);
        if !self.begun {
            self.begun = begins(&notice.data);
            return answer;
        }
        if self.told == Told::Everything {
            self.census.note(notice.data.nr);
        }
        if let Some(witness) = &self.witness {
            witness.hear(notice, refused.is_some());
        }
        if refused.is_some() { answer } else { self.show(listener, notice) }
    }

    /// Answers a call that tells of the machine, and looks at one that executes a program.
    fn show(&mut self, listener: BorrowedFd<'_>, notice: &libc::seccomp_notif) -> Answer {
        let thread = Pid::from_raw(notice.pid.cast_signed());
        let (number, arguments) = (i64::from(notice.data.nr), notice.data.args);
        match number {
            libc::SYS_execve | libc::SYS_execveat => {
                let words = arguments[if number == libc::SYS_execve { 1 } else { 2 }];
                // A command line that cannot be read is not executed either.
                _ = self.commands.look(thread, words);
                Answer::GoOn
            }
            _ if Shown::CALLS.contains(&number) => {
                let Some(shown) = &self.shown else { return Answer::GoOn };
                let told = shown.answer(thread, number, arguments).and_then(|(address, bytes)| {
                    // Whoever was killed meanwhile may have left its number to another.
                    match sys::notice_is_valid(listener, notice.id) {
                        true => sys::write_memory(thread, address, &bytes),
                        false => Ok(()),
                    }
                });
                match told {
                    Ok(()) => Answer::Done,
                    Err(error) => Answer::Refuse(error.raw_os_error().unwrap_or(libc::EPERM)),
                }
            }
            _ => Answer::GoOn,
        }
    }
}

/// Waits for a notice; `false` when nobody is left who could cause one.
fn wait(listener: &OwnedFd) -> io::Result<bool> {
    loop {
        let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [polled] = polled;
        let events = polled.revents().unwrap_or(PollFlags::empty());
        if events.contains(PollFlags::POLLIN) {
            return Ok(true);
        }
        if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            return Ok(false);
        }
    }
}

fn take_listener(passage: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0; 1];
    loop {
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let mut parts = [io::IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(passage.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => {
                let rights = message.cmsgs()?.find_map(|part| match part {
                    ControlMessageOwned::ScmRights(raw) => raw.first().copied(),
                    _ => None,
                });
                return Ok(rights.map(sys::own));
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
