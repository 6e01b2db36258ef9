//! The tee's life as the supervisor sees it: started, heard, ended; what it does not answer for goes to the node.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, io::Read, io::Write};

use nix::sys::signal::Signal;

use super::Core;
use crate::supervise::protocol::Reply;
use crate::supervise::tee::{self, steer};
use crate::supervise::{Share, SuperviseError, process};
use crate::trust_store::chain;

/// A tee that is not heard for so long gets no connections any more.
const SILENCE: Duration = Duration::from_secs(3);

/// One that is not heard for so long is killed: what goes through it stands still.
const LOST: Duration = Duration::from_secs(30);

/// Tees: one that takes connections, and any that carry what they had taken.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    on: Option<On>,
    tees: Vec<Tee>,
    pids: Vec<i32>,
}

#[derive(Debug)]
struct On {
    share: Share,
    pid: i32,
    until: Instant,
}

#[derive(Debug)]
struct Tee {
    pid: i32,
    lifeline: UnixStream,
    heard: Instant,
    /// Whether it may be in the group still.
    listens: bool,
}

impl Mirror {
    /// Tees that the program before had started. Told to end by its hanging up, they carry on by themselves.
    pub(super) fn adopt(pids: Vec<i32>) -> Self {
        Self { on: None, tees: Vec::new(), pids }
    }

    /// Processes that are no part of the node.
    pub(super) fn pids(&self) -> &[i32] {
        &self.pids
    }

    pub(super) fn share(&self) -> Option<Share> {
        self.on.as_ref().map(|on| on.share)
    }

    /// When to look at it again.
    pub(super) fn timer(&self) -> Option<Instant> {
        let soon = (!self.tees.is_empty()).then(|| Instant::now() + tee::BEAT * 3);
        self.on.as_ref().map(|on| on.until).into_iter().chain(soon).min()
    }
}

impl Core<'_> {
    /// Asked again while it is on, it goes on until then.
    pub(super) fn begin_mirror(&mut self, share: Share, until: Instant) -> Reply {
        let refused = |reason: String| Reply::Refused { reason, by_node: false };
        if let Some(on) = &mut self.mirror.on {
            if on.share != share {
                return refused(format!("{} are mirrored already", on.share));
            }
            on.until = until;
            return Reply::Mirroring { left_out: Vec::new() };
        }
        if let Some(why) = self.busy() {
            return refused(format!("nothing is mirrored now: {why}"));
        }
        if !self.running.as_ref().is_some_and(|running| running.ready) {
            return refused("nothing is mirrored now: the node does not run".to_owned());
        }
        // The filter knows two sockets.
        if self.mirror.tees.iter().any(|tee| tee.listens) {
            return refused("nothing is mirrored now: the tee before still listens".to_owned());
        }
        match self.start_tee(share, until) {
            Ok(left_out) => Reply::Mirroring { left_out },
            Err(error) => {
                let reason = chain(&error);
                self.close_group();
                (self.tell)(&format!("nothing is mirrored: {reason}"));
                refused(reason)
            }
        }
    }

    fn start_tee(
        &mut self,
        share: Share,
        until: Instant,
    ) -> Result<Vec<(String, String)>, SuperviseError> {
        let system = |what| move |source: io::Error| SuperviseError::System { what, source };
        let (mut before, mut left_out) = (Vec::<(String, SocketAddr)>::new(), Vec::new());
        for (name, listener) in self.sockets.listeners(&self.generation.launch.listen) {
            match steer::reached_at(listener) {
                Ok(_) => {
                    let address = listener.local_addr().map_err(system("name a socket"))?;
                    steer::open_to_others(listener, true).map_err(system("share a socket"))?;
                    before.push((name.to_owned(), address));
                }
                Err(why) => left_out.push((name.to_owned(), why)),
            }
        }
        if before.is_empty() {
            let why = left_out.first().map_or("the node has no socket", |(_, why)| why.as_str());
            return Err(system("stand before any socket")(io::Error::other(why.to_owned())));
        }
        let (lifeline, theirs) = UnixStream::pair().map_err(system("open a lifeline"))?;
        lifeline.set_nonblocking(true).map_err(system("open a lifeline"))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(tee::VERB).args(["--share", &share.to_string(), "--to"]);
        command.arg(self.home.mirror_socket());
        for (name, address) in &before {
            command.arg("--socket").arg(format!("{name}={address}"));
        }
        command
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        // Reaped by pid, as everything is.
        let child = command
            .spawn()
            .map_err(|source| SuperviseError::Spawn { program: "the tee".to_owned(), source })?;
        let pid = child.id().cast_signed();
        self.mirror.pids.push(pid);
        self.mirror.tees.push(Tee { pid, lifeline, heard: Instant::now(), listens: true });
        self.mirror.on = Some(On { share, pid, until });
        let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        (self.tell)(&format!(
            "{share} of new connections are mirrored ({names}), by process {pid}"
        ));
        Ok(left_out)
    }

    /// Nothing new goes to the tee; it carries what it has.
    pub(super) fn end_mirror(&mut self, why: &str) {
        let Some(on) = self.mirror.on.take() else { return };
        self.close_group();
        if let Some(tee) = self.mirror.tees.iter_mut().find(|tee| tee.pid == on.pid) {
            let _it_may_be_gone = tee.lifeline.write(b"end\n");
        }
        (self.tell)(&format!("connections are no longer mirrored: {why}"));
    }

    fn close_group(&self) {
        for (_, listener) in self.sockets.listeners(&self.generation.launch.listen) {
            // It fails where no tee ever listened beside it: then there is nothing to be steered.
            let _no_group = steer::steer(listener, None);
            let _as_before = steer::open_to_others(listener, false);
        }
    }

    pub(super) fn tee_ended(&mut self, pid: i32) {
        self.mirror.pids.retain(|known| *known != pid);
        self.mirror.tees.retain(|tee| tee.pid != pid);
        if self.mirror.on.as_ref().is_some_and(|on| on.pid == pid) {
            self.end_mirror("the tee has ended");
        }
    }

    pub(super) fn watch_mirror(&mut self, now: Instant) {
        for tee in &mut self.mirror.tees {
            let mut beats = [0; 64];
            while let Ok(count @ 1..) = tee.lifeline.read(&mut beats) {
                tee.heard = now;
                tee.listens &= !beats[..count].contains(&tee::CARRIES);
            }
        }
        let silent = |tee: &Tee, limit| now.saturating_duration_since(tee.heard) > limit;
        if let Some(on) = &self.mirror.on {
            let tee = self.mirror.tees.iter().find(|tee| tee.pid == on.pid);
            if on.until <= now {
                self.end_mirror("nobody asked for more");
            } else if tee.is_none_or(|tee| silent(tee, SILENCE)) {
                self.end_mirror("the tee is not heard any more");
            }
        }
        let lost: Vec<i32> =
            self.mirror.tees.iter().filter(|tee| silent(tee, LOST)).map(|tee| tee.pid).collect();
        for pid in lost {
            let it: Vec<_> = process::stat(pid).into_iter().collect();
            process::signal(&it, Signal::SIGKILL);
        }
    }
}
