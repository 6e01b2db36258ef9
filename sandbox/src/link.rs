//! The socket to a sandbox, and the keeper at its other end.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::{Error, Failure};
use crate::running::Exit;
use crate::wire::{self, Errand, Event, Report, Request};

/// One errand of a keeper that answers with one event.
pub(crate) fn errand(errand: &Errand) -> Result<Event, Error> {
    Link::open(errand, None)?.next(None)?.ok_or(Error::Lost)
}

/// The socket to the sandbox and what came over it. Dropping it ends the sandbox.
#[derive(Debug)]
pub(crate) struct Link {
    socket: UnixStream,
    keeper: Child,
    pub(crate) ready: bool,
    pub(crate) exit: Option<Exit>,
    pub(crate) report: Option<(Report, Option<Failure>)>,
    /// Why it ended early: its last event, told to everybody who asks from then on.
    pub(crate) failed: Option<Failure>,
    /// A descriptor that came with the last event.
    passed: Option<OwnedFd>,
}

impl Link {
    /// Starts this program again as a keeper and tells it what to do.
    pub(crate) fn open(errand: &Errand, log: Option<BorrowedFd<'_>>) -> Result<Self, Error> {
        if !crate::BEGAN.load(Ordering::Relaxed) {
            return Err(Error::Description {
                what: "main() of this program does not begin with init_if_asked()".to_owned(),
            });
        }
        let failed = |source| Error::Setup { step: "start the keeper".to_owned(), source };
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let keeper = Command::new("/proc/self/exe")
            .arg0(crate::KEEPER)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (ready, exit, report, passed) = (false, None, None, None);
        let link = Self { socket, keeper, ready, exit, report, failed: None, passed };
        let log: Vec<_> = log.into_iter().collect();
        wire::send(&link.socket, errand, &log).map_err(failed)?;
        Ok(link)
    }

    /// The keeper's process id.
    pub(crate) fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    pub(crate) fn say(&self, request: &Request) -> Result<(), Error> {
        // A sandbox that has just ended takes no more requests, but its report still waits to be read.
        if self.report.is_none() {
            _ = wire::send(&self.socket, request, &[]);
        }
        Ok(())
    }

    /// Says something and waits for its answer, and the descriptor that came with it.
    pub(crate) fn ask<T>(
        &mut self,
        request: &Request,
        mut answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<(T, Option<OwnedFd>), Error> {
        self.say(request)?;
        loop {
            if self.report.is_some() {
                return Err(Error::Lost);
            }
            if let Some(event) = self.next(None)?
                && let Some(answer) = answer(&event)
            {
                return Ok((answer, self.passed.take()));
            }
        }
    }

    /// Takes in the next event; `None` when none comes before the deadline.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone().into());
        }
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if wire::readable(&self.socket, left).map_err(|_| Error::Lost)? {
                break;
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
        }
        let (event, mut fds) =
            wire::receive::<Event>(&self.socket).ok().flatten().ok_or(Error::Lost)?;
        self.passed = fds.pop();
        match &event {
            Event::Ready => self.ready = true,
            Event::Exited(exit) => self.exit = Some(*exit),
            Event::Ended { report, handed_back } => {
                self.exit = Some(report.exit);
                self.report = Some((report.clone(), handed_back.clone()));
            }
            Event::Failed(failure) => {
                self.failed = Some(failure.clone());
                return Err(failure.clone().into());
            }
            Event::Started | Event::Socket(_) | Event::Attempts(_) | Event::Probed(_) => {}
        }
        Ok(Some(event))
    }

    /// Hangs up, and waits until the keeper has killed and cleaned up everything.
    pub(crate) fn close(&mut self) {
        // Already closed is closed.
        _ = self.socket.shutdown(std::net::Shutdown::Both);
        _ = self.keeper.wait();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}
