//! Letting go of everything for the next program, and taking it up again.

use std::fs::File;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Instant;

use super::{Core, Event, Running};
use crate::generation::Generation;
use crate::state::data_dir::Alone;
use crate::supervise::notify::NotifySocket;
use crate::supervise::replace::{self, Descriptors, Kept, KeptNode};
use crate::supervise::{SuperviseError, process};

impl Core<'_> {
    /// Why this is no moment to be replaced; `None`: it is one.
    pub(super) fn busy(&self) -> Option<&'static str> {
        let running = self.running.as_ref();
        if self.hold.is_some() || self.thaw_at.is_some() || self.ending {
            return Some("the node is held stopped or frozen");
        }
        if self.beside.is_some() || !self.draining.is_empty() {
            return Some("two versions run just now");
        }
        if self.mirror.share().is_some() {
            return Some("live traffic is mirrored just now");
        }
        match running {
            Some(one) if one.stop.is_none() && one.ready => None,
            Some(_) => Some("the node is starting or stopping"),
            None => None,
        }
    }

    /// Everything that the next program needs. What was kept open stays open until this process becomes it.
    pub(in crate::supervise) fn let_go(
        self,
        supervisor_lock: File,
        control: UnixListener,
    ) -> Result<(Kept, Descriptors), SuperviseError> {
        let system = |source| SuperviseError::System { what: "pass a descriptor on", source };
        let pid = std::process::id().cast_signed();
        let (sockets, listeners) = self.sockets.let_go();
        let mut kept = Kept {
            format: replace::FORMAT,
            pid,
            start: process::stat(pid).map_or(0, |stat| stat.start),
            starts: self.starts,
            crashes: self.crashes,
            quick_exits: self.quick_exits,
            last_exit: self.last_exit,
            sockets,
            generation: self.generation.number,
            node: None,
            tees: self.mirror.pids().to_vec(),
        };
        let mut node = None;
        if let Some(running) = self.running {
            kept.node = Some(KeptNode {
                pid: running.pid,
                start: running.start,
                since: running.since,
                oom_kills: running.oom_kills,
                log_from: running.log_from,
                notify: running.notify.path().to_owned(),
            });
            let alone = running.alone.again()?;
            node = Some((alone, running.notify.socket().map_err(system)?));
            // Its socket's name stays on the disk: the node knows it by that.
            std::mem::forget(running);
        }
        Ok((kept, Descriptors { supervisor_lock, control, sockets: listeners, node }))
    }

    /// Goes on where the program before was.
    pub(in crate::supervise) fn take_up(
        &mut self,
        kept: Kept,
        node: Option<(Alone, UnixDatagram)>,
    ) -> Result<(), SuperviseError> {
        (self.starts, self.crashes, self.quick_exits) =
            (kept.starts, kept.crashes, kept.quick_exits);
        self.last_exit = kept.last_exit;
        self.mirror = super::mirror::Mirror::adopt(kept.tees);
        self.generation = Generation::read(&self.home, kept.generation)?;
        if let (Some(KeptNode { pid, start, since, oom_kills, log_from, notify }), Some(open)) =
            (kept.node, node)
        {
            let (alone, socket) = open;
            self.running = Some(Running {
                generation: self.generation.clone(),
                pid,
                start,
                since,
                began: Instant::now(),
                ready: true,
                main_ended: false,
                noted: false,
                stop: None,
                killed: false,
                oom_kills,
                log_from,
                notify: NotifySocket::adopt(notify, socket, start, self.events.clone())?,
                alone,
            });
        }
        // Whoever ended meanwhile told nobody.
        let _heard = self.events.send(Event::Child);
        Ok(())
    }
}
