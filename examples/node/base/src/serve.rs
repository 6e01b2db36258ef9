//! `serve`: from the state on disk to a node that is ready, and back to the disk when it is told to stop.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, Builder, Scope};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::api::{Api, Shared};
use crate::commit;
use crate::failure::{OrFail, Outcome, tell};
use crate::notify::notify;
use crate::release;
use crate::socket;
use crate::state::{Log, State, Store};
use crate::worker::{self, Door};

/// How many connections are served at once; more wait in the backlog.
const WORKERS: usize = 32;

/// Serves the state in a directory.
pub(crate) struct Serve {
    pub(crate) state: PathBuf,
    pub(crate) listen: Option<SocketAddr>,
}

impl Serve {
    pub(crate) fn run(self) -> Outcome<()> {
        // Before any thread: each inherits the mask, so TERM reaches only the descriptor.
        let stop = stop_signal()?;
        fs::create_dir_all(&self.state).or_fail(format_args!("create {}", self.state.display()))?;
        let state = State::hold(&self.state)?;
        let Store { values, counters, log } = Store::open(&state)?;
        let listener = socket::take(self.listen)?;
        let shared = Shared::new(values, counters);
        let door =
            Door { listener: Mutex::new(listener), stop: &stop, stopping: AtomicBool::new(false) };
        // A failure in there ends the process: the scope would wait for threads that nobody stops.
        thread::scope(|scope| or_exit(serve(scope, &door, &shared, log)));
        tell("stopped");
        // Given back last: whoever gets the lock finds everything written.
        drop(state);
        Ok(())
    }
}

/// Starts the threads, says that the node is ready, and returns when it was told to stop. The workers then finish.
fn serve<'scope>(
    scope: &'scope Scope<'scope, '_>,
    door: &'scope Door<'_>,
    shared: &'scope Shared,
    log: Log,
) -> Outcome<()> {
    let (committer, pending) = channel();
    Builder::new()
        .name("commit".to_owned())
        .spawn_scoped(scope, move || or_exit(commit::run(log, shared, &pending)))
        .or_fail("start a thread")?;
    for number in 0..WORKERS {
        let api = Api { shared, committer: committer.clone() };
        Builder::new()
            .name(format!("worker-{number}"))
            .spawn_scoped(scope, move || or_exit(worker::run(door, &api)))
            .or_fail("start a thread")?;
    }
    // The workers' senders are the only ones now: when the last worker is done, so is the committer.
    drop(committer);
    notify("READY=1")?;
    tell(&format!("{} is ready", release::VERSION));
    release::on_ready();
    wait(door.stop)?;
    door.stopping.store(true, Ordering::Release);
    tell("stopping: no new connections, finishing what has begun");
    // Nobody may be listening any more, least of all a supervisor that crashed: no reason to drop requests.
    if let Err(failure) = notify("STOPPING=1") {
        tell(&failure.to_string());
    }
    Ok(())
}

fn stop_signal() -> Outcome<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block().or_fail("set up signals")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC).or_fail("set up signals")
}

fn wait(stop: &SignalFd) -> Outcome<()> {
    loop {
        match poll(&mut [PollFd::new(stop.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).or_fail("wait for a signal"),
        }
    }
}

/// A thread that fails takes the node with it: what it held was not acknowledged, and the supervisor starts us anew.
fn or_exit(done: Outcome<()>) {
    if let Err(failure) = done {
        tell(&format!("error: {failure}"));
        std::process::exit(i32::from(failure.code));
    }
}
