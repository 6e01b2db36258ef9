//! A payload that runs, and how it ended.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{SockaddrStorage, connect, getsockopt};
use serde::{Deserialize, Serialize};

use crate::attempt::Attempt;
use crate::error::Error;
use crate::link::Link;
use crate::lower::Lowerable;
use crate::sample::{Known, Sample};
use crate::spec::Sandbox;
use crate::wire::{self, Errand, Event, Request};

/// How long [`Running::connect`] tries. A listening payload's backlog accepts at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// No payload was started by this process yet.
static FIRST: AtomicBool = AtomicBool::new(true);

/// A running payload. Dropping it kills everything in the sandbox and waits for that.
#[derive(Debug)]
pub struct Running {
    pub(crate) link: Arc<Mutex<Link>>,
    keeper: u32,
    known: Mutex<Known>,
}

/// Reaches a payload from other threads than the one that watches it. When the sandbox is gone, nobody is reached.
#[derive(Clone, Debug)]
pub struct Caller(Weak<Mutex<Link>>);

/// What [`Running::wait_ready`] saw first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The payload said `READY=1`.
    Ready,
    /// The payload ended before.
    Exited(Exit),
    /// The deadline passed.
    TimedOut,
}

/// How the payload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed at the wall limit.
    WallTime,
}

/// All that is known when the sandbox is gone.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How the payload's first process ended. Whatever it had left behind was killed.
    pub exit: Exit,
    /// How many processes it had left behind when it ended by itself.
    pub left_running: u64,
    /// What it tried to reach, by the time of the first try.
    pub attempts: Vec<Attempt>,
    /// Connections, datagrams and the like that the kernel's counters know of and the eye did not see:
    /// more than 0 means that `attempts` is not the whole truth. Tries at other places than the 512 that
    /// `attempts` lists at most are counted here too.
    pub unaccounted: u64,
    /// What it used up.
    pub usage: Usage,
    /// How many of its processes the kernel killed because all together came to the limit on memory.
    pub memory_kills: u64,
    /// The names of the system calls that it used, allowed or refused, `execve` of its own program among them;
    /// empty unless asked for by [`Sandbox::census`]. What the vDSO answers is no system call.
    pub calls: BTreeSet<String>,
    /// Whether output beyond the limit was dropped.
    pub output_truncated: bool,
    /// The first command lines with a word that [`Machine::watch`](crate::Machine::watch) looks for, shortened.
    pub seen: Vec<String>,
    /// The protections that it ran without, of those that [`Sandbox::lower`](crate::Sandbox::lower) named.
    pub lowered: Vec<Lowerable>,
}

/// What a payload and all of its processes used up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// From start to end.
    pub wall: Duration,
    /// The largest resident size of any one process, in bytes.
    pub max_rss: u64,
}

impl Running {
    pub(crate) fn start(sandbox: Sandbox) -> Result<Self, Error> {
        let Sandbox { mut plan, log } = sandbox;
        plan.check().map_err(|what| Error::Description { what })?;
        let failed =
            |source| Error::Setup { step: "read the working directory".to_owned(), source };
        plan.make_absolute().map_err(failed)?;
        plan.first = FIRST.swap(false, Ordering::Relaxed);
        let mut link = Link::open(&Errand::Run(Box::new(plan)), log.as_ref().map(AsFd::as_fd))?;
        // A quick payload may be ready before the news of its start has come.
        while !matches!(link.next(None)?, Some(Event::Started)) {}
        let keeper = link.keeper();
        Ok(Self { link: Arc::new(Mutex::new(link)), keeper, known: Mutex::default() })
    }

    /// Waits until the payload says that it is ready, ends, or `deadline` passes.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn wait_ready(&mut self, deadline: Instant) -> Result<Readiness, Error> {
        let mut link = self.link();
        loop {
            if link.ready {
                return Ok(Readiness::Ready);
            }
            if let Some(exit) = link.exit {
                return Ok(Readiness::Exited(exit));
            }
            if link.next(Some(deadline))?.is_none() {
                return Ok(Readiness::TimedOut);
            }
        }
    }

    /// Waits until the payload ends or `deadline` passes; `None` when it still runs then.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Option<Exit>, Error> {
        let mut link = self.link();
        while link.exit.is_none() {
            if link.next(Some(deadline))?.is_none() {
                break;
            }
        }
        Ok(link.exit)
    }

    /// A connection made inside the sandbox's network, as if by a neighbour of the payload.
    ///
    /// # Errors
    /// [`Error::Network`] when nothing listens there, [`Error::Lost`].
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream, Error> {
        call(&self.link, address)
    }

    /// The same for other threads.
    pub fn caller(&self) -> Caller {
        Caller(Arc::downgrade(&self.link))
    }

    /// What the payload's processes hold at this moment. It reads all of `/proc`: a few times in a second is often.
    pub fn sample(&self) -> Sample {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).look(self.keeper)
    }

    /// What the payload has tried to reach so far. Empty when the sandbox was lost; [`Running::wait`] tells.
    pub fn attempts(&self) -> Vec<Attempt> {
        let mut link = self.link();
        if let Some((report, _)) = &link.report {
            return report.attempts.clone();
        }
        let answer = link.ask(&Request::Attempts, |event| match event {
            Event::Attempts(attempts) => Some(attempts.clone()),
            _ => None,
        });
        match (answer, &link.report) {
            (Ok((attempts, _)), _) => attempts,
            (Err(_), Some((report, _))) => report.attempts.clone(),
            (Err(_), None) => Vec::new(),
        }
    }

    /// How the payload ended, if it has. A payload whose sandbox failed was killed; [`Running::wait`] tells why.
    pub fn has_exited(&mut self) -> Option<Exit> {
        let mut link = self.link();
        // Whatever has come in is taken in; what goes wrong is told by `wait`.
        while link.exit.is_none() && matches!(link.next(Some(Instant::now())), Ok(Some(_))) {}
        link.exit.or(link.failed.is_some().then_some(Exit::Signal(libc::SIGKILL)))
    }

    /// Asks the payload to end (`SIGTERM`), and kills everything after `grace`.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn terminate(&mut self, grace: Duration) -> Result<(), Error> {
        let mut link = self.link();
        if link.exit.is_some() {
            return Ok(());
        }
        link.say(&Request::Terminate)?;
        let mut deadline = Instant::now().checked_add(grace);
        while link.exit.is_none() {
            if link.next(deadline)?.is_none() {
                link.say(&Request::Kill)?;
                deadline = None;
            }
        }
        Ok(())
    }

    /// Waits for the payload's end; whatever it left behind is killed then.
    ///
    /// # Errors
    /// [`Error::Lost`]; [`Error::Owner`] when a scratch directory could not be handed back; [`Error::Full`].
    pub fn wait(self) -> Result<Ended, Error> {
        let mut link = self.link();
        let (report, handed_back) = loop {
            if let Some(end) = link.report.take() {
                break end;
            }
            link.next(None)?;
        };
        // The keeper's last word came after all cleaning up.
        link.close();
        if let Some(failure) = handed_back {
            return Err(failure.into());
        }
        Ok(Ended {
            exit: report.exit,
            left_running: report.left_running,
            attempts: report.attempts,
            unaccounted: report.unaccounted,
            usage: report.usage,
            memory_kills: report.memory_kills,
            output_truncated: report.output_truncated,
            seen: report.seen,
            calls: report.calls,
            lowered: report.lowered,
        })
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    /// Now, even if a call is under way.
    fn drop(&mut self) {
        self.link().close();
    }
}

impl Caller {
    /// As [`Running::connect`].
    ///
    /// # Errors
    /// As there; [`Error::Lost`] when the sandbox is gone.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream, Error> {
        call(&*self.0.upgrade().ok_or(Error::Lost)?, address)
    }

    /// A socket inside the sandbox's network whose datagrams go to a loopback address, and which hears what comes from there.
    ///
    /// # Errors
    /// As [`Running::connect`].
    pub fn datagrams(&self, address: SocketAddr) -> Result<UdpSocket, Error> {
        if !address.ip().is_loopback() {
            return Err(unreached(address, std::io::ErrorKind::Unsupported.into()));
        }
        let link = self.0.upgrade().ok_or(Error::Lost)?;
        let socket = UdpSocket::from(socket_inside(&link, &Request::Datagrams(address), address)?);
        socket.connect(address).map_err(|error| unreached(address, error))?;
        Ok(socket)
    }
}

fn call(link: &Mutex<Link>, address: SocketAddr) -> Result<TcpStream, Error> {
    let socket = socket_inside(link, &Request::Connect(address), address)?;
    join(&socket, &address).map_err(|error| unreached(address, error))?;
    Ok(TcpStream::from(socket))
}

fn unreached(address: SocketAddr, source: std::io::Error) -> Error {
    Error::Network { address: address.to_string(), source }
}

pub(crate) fn socket_inside(
    link: &Mutex<Link>,
    request: &Request,
    address: SocketAddr,
) -> Result<OwnedFd, Error> {
    let (failure, socket) = {
        let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
        if link.exit.is_some() {
            return Err(unreached(address, std::io::ErrorKind::ConnectionRefused.into()));
        }
        link.ask(request, |event| match event {
            Event::Socket(failure) => Some(failure.clone()),
            _ => None,
        })?
    };
    match failure {
        Some(failure) => Err(failure.into()),
        None => socket.ok_or(Error::Lost),
    }
}

/// Connects a socket of the sandbox's network from here: a socket belongs to the network it was made in.
fn join(socket: &OwnedFd, address: &SocketAddr) -> std::io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_truncate(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(*address)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if wire::wait([(socket.as_fd(), PollFlags::POLLOUT)], Some(left))? == [true] {
                    break;
                }
                if left.is_zero() {
                    return Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
                }
            }
            match getsockopt(socket, SocketError)? {
                0 => {}
                errno => return Err(std::io::Error::from_raw_os_error(errno)),
            }
        }
        Err(error) => return Err(error.into()),
    }
    fcntl(socket, FcntlArg::F_SETFL(flags))?;
    Ok(())
}
