//! The supervisor's frame: lock, orphan, sockets; threads that listen; the core that decides.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::stat::{Mode, umask};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::core::{Core, Event};
use super::orphan::{self, NodeFile};
use super::protocol::{MAX_LINE, Reply, Request};
use super::sockets::Sockets;
use super::{Limits, SuperviseError, inherited, replace, watchdog};
use crate::Home;
use crate::durable;
use crate::generation::Generation;
use crate::systemd;

/// An asker that says nothing for this long is hung up on.
const SILENCE: Duration = Duration::from_secs(60);

/// The longest path of a Unix socket, in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// Supervises the node until TERM, INT or `shutdown`. `tell` gets a sentence whenever something happens.
///
/// # Errors
/// Another supervisor runs, nothing is installed, an address is taken, or an orphan does not end.
pub fn run(home: &Home, limits: Limits, tell: &mut dyn FnMut(&str)) -> Result<(), SuperviseError> {
    let path = home.supervisor_socket();
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(SuperviseError::PathTooLong(path));
    }
    let mut places = replace::reserve()?;
    let before = replace::take(home, &mut places)?;
    let (events, heard) = mpsc::channel();
    listen_to_signals(events.clone())?;
    let system =
        |what| move |errno: nix::Error| SuperviseError::System { what, source: errno.into() };
    set_child_subreaper(true).map_err(system("adopt the node's children"))?;
    let pulse = events.clone();
    let (lock, control, core) = match before {
        Some((kept, open)) => {
            tell("this program has taken over from the one before; the node runs on");
            let control = control(open.control, events.clone())?;
            let generation = Generation::read(home, kept.generation)?;
            let sockets = Sockets::adopt(&kept.sockets, open.sockets);
            let mut core = Core::new(home, limits, generation, sockets, None, events, tell);
            core.take_up(kept, open.node)?;
            (open.supervisor_lock, control, core)
        }
        None => begin(home, limits, events, tell)?,
    };
    watchdog::start(&pulse);
    systemd::notify("READY=1");
    if let Some(core) = core.run(&heard) {
        let (kept, descriptors) = core.let_go(lock, control)?;
        return Err(replace::exec(home, &kept, descriptors));
    }
    let _gone = fs::remove_file(&path);
    Ok(())
}

/// Takes the place of whoever ran before: nobody, or one that was killed.
fn begin<'a>(
    home: &Home,
    limits: Limits,
    events: Sender<Event>,
    tell: &'a mut dyn FnMut(&str),
) -> Result<(File, UnixListener, Core<'a>), SuperviseError> {
    let lock = only_one(home)?;
    let left = NodeFile::read(home);
    let generation = Generation::current(home)?
        .ok_or_else(|| SuperviseError::NothingInstalled(home.current()))?;
    let grace = left.as_ref().map_or(generation.launch.stop_grace, |node| node.stop_grace);
    orphan::stop(home, left.as_ref(), grace, limits)?;
    let mut sockets = inherited::sockets(&generation.launch.listen, tell)?;
    sockets.open(&generation.launch.listen)?;
    for (name, address) in sockets.list() {
        tell(&format!("listening on {address} ({name})"));
    }
    let control = control(open_control(home)?, events.clone())?;
    Ok((lock, control, Core::new(home, limits, generation, sockets, left, events, tell)))
}

fn only_one(home: &Home) -> Result<File, SuperviseError> {
    let file = durable::append_to(&home.run().join("supervisor.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(SuperviseError::Busy(home.path().to_owned())),
        Err(fs::TryLockError::Error(source)) => {
            Err(SuperviseError::System { what: "lock the supervisor's place", source })
        }
    }
}

fn listen_to_signals(events: Sender<Event>) -> Result<(), SuperviseError> {
    let mut signals = Signals::new([SIGCHLD, SIGTERM, SIGINT])
        .map_err(|source| SuperviseError::System { what: "listen to signals", source })?;
    thread::spawn(move || {
        for signal in signals.forever() {
            let event = if signal == SIGCHLD { Event::Child } else { Event::Terminate };
            if events.send(event).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// Opens the control socket, which only its owner may use.
fn open_control(home: &Home) -> Result<UnixListener, SuperviseError> {
    let path = home.supervisor_socket();
    let failed = |source| SuperviseError::System { what: "open the control socket", source };
    // We hold the lock: what is there was left by a supervisor that is gone.
    let _not_there = fs::remove_file(&path);
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(&path);
    umask(before);
    listener.map_err(failed)
}

/// Answers on the control socket.
fn control(listener: UnixListener, events: Sender<Event>) -> Result<UnixListener, SuperviseError> {
    let failed = |source| SuperviseError::System { what: "open the control socket", source };
    let accepting = listener.try_clone().map_err(failed)?;
    thread::spawn(move || {
        for stream in accepting.incoming().flatten() {
            let events = events.clone();
            thread::spawn(move || converse(&stream, &events));
        }
    });
    Ok(listener)
}

/// Answers line by line until the asker hangs up or the supervisor ends.
fn converse(stream: &UnixStream, events: &Sender<Event>) -> Option<()> {
    stream.set_read_timeout(Some(SILENCE)).ok()?;
    stream.set_write_timeout(Some(SILENCE)).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.by_ref().take(MAX_LINE).read_line(&mut line).ok()? == 0 {
            return None;
        }
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let (reply, answer) = mpsc::channel();
                events.send(Event::Asked(request, reply)).ok()?;
                answer.recv().ok()?
            }
            Err(error) => Reply::Refused {
                reason: format!("this supervisor does not know that request: {error}"),
                by_node: false,
            },
        };
        let mut text = serde_json::to_vec(&reply).ok()?;
        text.push(b'\n');
        (&mut &*stream).write_all(&text).ok()?;
    }
}
