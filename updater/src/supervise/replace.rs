//! The supervisor replaced by another of its programs: `exec` in the same process, with its descriptors kept.
//!
//! ```text
//! NODE/run/hand-over.json   what the program before knew; it counts only for the very process that wrote it
//! LISTEN_FDS=…              its locks and sockets, as any socket is passed on: LISTEN_FDNAMES says which is which
//! ```
//!
//! The node stays the child of the same process, its sockets stay open, and whoever asks the supervisor waits in its
//! socket meanwhile. If the program cannot be run, the one that ran before takes up its own hand-over.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::protocol::Exit;
use super::{SuperviseError, process};
use crate::Home;
use crate::durable::{self, DiskError};
use crate::selfupdate::Place;
use crate::state::data_dir::Alone;

/// The hand-over that this code writes and reads.
pub const FORMAT: u32 = 1;

/// What the next program must know beside the descriptors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Kept {
    pub(super) format: u32,
    /// The process that wrote it and will read it.
    pub(super) pid: i32,
    /// Since when that process runs, in clock ticks after boot.
    pub(super) start: u64,
    pub(super) starts: u64,
    pub(super) crashes: u32,
    pub(super) quick_exits: u32,
    pub(super) last_exit: Option<Exit>,
    pub(super) sockets: Vec<(String, SocketAddr)>,
    pub(super) generation: u64,
    pub(super) node: Option<KeptNode>,
    /// Tees that carry what they had taken until it ends.
    #[serde(default)]
    pub(super) tees: Vec<i32>,
}

/// The node, which is ready: no other moment is handed over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct KeptNode {
    pub(super) pid: i32,
    pub(super) start: u64,
    pub(super) since: Timestamp,
    pub(super) oom_kills: u64,
    pub(super) log_from: u64,
    pub(super) notify: PathBuf,
}

/// The descriptors of [`Kept`].
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) supervisor_lock: File,
    pub(super) control: UnixListener,
    /// In the order of [`Kept::sockets`].
    pub(super) sockets: Vec<TcpListener>,
    /// Of the node: the state's locks and its `NOTIFY_SOCKET`.
    pub(super) node: Option<(Alone, UnixDatagram)>,
}

fn path(home: &Home) -> PathBuf {
    home.run().join("hand-over.json")
}

fn system(what: &'static str) -> impl Fn(io::Error) -> SuperviseError {
    move |source| SuperviseError::System { what, source }
}

/// More than is ever passed on: two of the supervisor's own, sixteen sockets, three of the node's.
const PLACES: i32 = 24;

/// Takes the numbers that descriptors are passed on by, before anything else does: just before the `exec` they are
/// replaced, while every thread still runs.
pub(super) fn reserve() -> Result<Vec<File>, SuperviseError> {
    let mut places = Vec::new();
    loop {
        let place = File::open("/dev/null").map_err(system("reserve descriptors"))?;
        if place.as_raw_fd() >= 3 + PLACES {
            return Ok(places);
        }
        places.push(place);
    }
}

/// Becomes what `NODE/updater/current` names, or else this program anew. Returns only if both fail.
pub(super) fn exec(home: &Home, kept: &Kept, descriptors: Descriptors) -> SuperviseError {
    match try_exec(home, kept, descriptors) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_exec(
    home: &Home,
    kept: &Kept,
    descriptors: Descriptors,
) -> Result<std::convert::Infallible, SuperviseError> {
    let bytes = serde_json::to_vec(kept)
        .map_err(|error| DiskError::new("write", &path(home), error.into()))?;
    durable::write_private(&path(home), &bytes)?;
    let Descriptors { supervisor_lock, control, sockets, node } = descriptors;
    let mut all: Vec<(&str, OwnedFd)> =
        vec![("supervisor", supervisor_lock.into()), ("control", control.into())];
    all.extend(sockets.into_iter().map(|socket| ("socket", socket.into())));
    if let Some((alone, notify)) = node {
        let [state, data] = alone.handles()?;
        all.extend([("state", state), ("data", data), ("notify", notify.into())]);
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let (names, count) = (names.join(":"), all.len().to_string());
    let prepared = |program: &Path| {
        let mut command = Command::new(program);
        command
            .args(std::env::args_os().skip(1).collect::<Vec<OsString>>())
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDS", &count)
            .env("LISTEN_FDNAMES", &names);
        command
    };
    let place = Place::of(home);
    let program = place.program().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let mut command = prepared(&program);
    command.env(crate::selfupdate::BECAME, &program);
    let numbered = all.into_iter().map(|(_, fd)| fd).zip(3..);
    let mappings = numbered.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    command
        .fd_mappings(mappings.collect())
        .map_err(|error| system("pass the descriptors on")(io::Error::other(error)))?;
    let refused = command.exec();
    // The descriptors are where they should be by now.
    let _same = prepared(Path::new("/proc/self/exe")).exec();
    Err(SuperviseError::Spawn { program: program.display().to_string(), source: refused })
}

/// What the program before handed over to this one in the same process; `None` if nobody did.
pub(super) fn take(
    home: &Home,
    places: &mut Vec<File>,
) -> Result<Option<(Kept, Descriptors)>, SuperviseError> {
    let Some(bytes) = durable::read(&path(home), 1 << 20)? else { return Ok(None) };
    let _stale_is_harmless = std::fs::remove_file(path(home));
    let Ok(kept) = serde_json::from_slice::<Kept>(&bytes) else { return Ok(None) };
    let me = std::process::id().cast_signed();
    let is_ours =
        process::stat(me).is_some_and(|stat| (stat.pid, stat.start) == (kept.pid, kept.start));
    if !is_ours || kept.format != FORMAT {
        return Ok(None);
    }
    let passed = sd_listen_fds::get()
        .map_err(|error| system("take the descriptors over")(io::Error::other(error)))?;
    // Away from the numbers by which descriptors are passed on, which are taken as soon as they are free.
    let passed: Vec<(Option<String>, OwnedFd)> =
        passed.into_iter().map(|(name, fd)| (name, fd.into_std())).collect();
    let away = |(name, fd): &(Option<String>, OwnedFd)| {
        let copy = fd.try_clone().map_err(system("keep a descriptor"))?;
        Ok((name.clone().unwrap_or_default(), copy))
    };
    let copies: Result<VecDeque<(String, OwnedFd)>, SuperviseError> =
        passed.iter().map(away).collect();
    let mut copies = copies?;
    drop(passed);
    places.extend(reserve()?);
    let mut next = |wanted: &str| match copies.pop_front() {
        Some((name, fd)) if name == wanted => Ok(fd),
        _ => Err(system("take the descriptors over")(io::ErrorKind::InvalidData.into())),
    };
    let supervisor_lock = next("supervisor")?.into();
    let control = next("control")?.into();
    let sockets: Result<_, _> =
        kept.sockets.iter().map(|_| next("socket").map(TcpListener::from)).collect();
    let node = match kept.node {
        Some(_) => {
            let alone = Alone::from_handles(next("state")?.into(), next("data")?.into());
            Some((alone, next("notify")?.into()))
        }
        None => None,
    };
    Ok(Some((kept, Descriptors { supervisor_lock, control, sockets: sockets?, node })))
}
