//! The node's life: started, ready, ended, started again.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Core, Running};
use crate::generation::Generation;
use crate::state::data_dir::Alone;
use crate::supervise::notify::NotifySocket;
use crate::supervise::orphan::NodeFile;
use crate::supervise::{SuperviseError, launch, process, ready};
use crate::swap::marker;
use crate::trust_store::chain;

/// First pause before a node that exited is started again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Core<'_> {
    /// Starts what `current` names now.
    pub(super) fn start(&mut self) {
        self.restart = None;
        let started = self.try_start();
        match started {
            Ok(()) => {
                let Generation { version, number, .. } = &self.generation;
                (self.tell)(&format!("started version {version} (generation {number})"));
            }
            Err(error) => self.not_started(&chain(&error)),
        }
    }

    pub(super) fn try_start(&mut self) -> Result<(), SuperviseError> {
        let generation = Generation::current(&self.home)?
            .ok_or_else(|| SuperviseError::NothingInstalled(self.home.current()))?;
        if marker::bars(&self.home, generation.number)? {
            return Err(SuperviseError::Migrating(generation.number));
        }
        if generation.number != self.generation.number {
            self.end_mirror("another generation is started");
            (self.crashes, self.quick_exits, self.last_exit) = (0, 0, None);
        }
        self.generation = generation.clone();
        let shares = |old: &Running| old.generation.overlaps(&self.generation);
        let alone = match self.draining.first() {
            // What drains holds the locks still, and may.
            Some(old) if self.draining.iter().all(shares) => old.alone.again()?,
            _ => Alone::with(&self.home, &generation.state_dir(&self.home))?,
        };
        let running = self.launch(generation, alone)?;
        let pid = running.pid;
        self.running = Some(running);
        // A disk that is full keeps no node down; it is tried again, and the lock finds the node without a note.
        if let Err(error) = self.remember(pid) {
            (self.tell)(&format!("not noted for the next supervisor: {}", chain(&error)));
        }
        Ok(())
    }

    /// The process of a generation, with its sockets and the state's lock.
    pub(super) fn launch(
        &mut self,
        generation: Generation,
        alone: Alone,
    ) -> Result<Running, SuperviseError> {
        self.starts += 1;
        self.sockets.open(&generation.launch.listen)?;
        let descriptors = self.sockets.descriptors(&generation.launch.listen)?;
        let notify = NotifySocket::open(&self.home.run(), self.starts, self.events.clone())?;
        let log = self.home.node_log();
        let log_from = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        let log = ready::Log::from_place(&log, log_from);
        let (oom_kills, notify_path) = (process::oom_kills(), notify.path());
        let handles = alone.handles()?;
        let pid = launch::spawn(&self.home, &generation, descriptors, handles, notify_path)?;
        ready::watch(&generation.launch, self.starts, pid, log, self.events.clone());
        Ok(Running {
            generation,
            pid,
            start: self.starts,
            since: Timestamp::now(),
            began: Instant::now(),
            ready: false,
            main_ended: false,
            noted: false,
            stop: None,
            killed: false,
            oom_kills,
            log_from,
            notify,
            alone,
        })
    }

    /// For a supervisor that comes after this one.
    pub(super) fn remember(&mut self, pid: i32) -> Result<(), SuperviseError> {
        let node = NodeFile {
            pid,
            start: process::stat(pid).map_or(0, |stat| stat.start),
            boot: process::boot_id(),
            generation: self.generation.number,
            crashes: self.crashes,
            stop_grace: self.generation.launch.stop_grace,
        };
        node.write(&self.home)?;
        if let Some(running) = &mut self.running {
            running.noted = true;
        }
        Ok(())
    }

    /// Writes the note that could not be written before.
    pub(super) fn note(&mut self) {
        let Some(pid) = self.running.as_ref().filter(|r| !r.noted).map(|r| r.pid) else { return };
        if self.remember(pid).is_ok() {
            (self.tell)("noted for the next supervisor");
        }
    }

    pub(super) fn not_started(&mut self, reason: &str) {
        (self.tell)(&format!("not started: {reason}"));
        // What is spawned is this program's own hidden verb: its failure is the machine's, not the node's.
        self.refuse_ready(reason, false);
        if self.running.is_none() && self.hold.is_none() && !self.ending {
            let pause = self.pause();
            self.restart = Some((Instant::now() + pause, reason.to_owned()));
        }
    }

    pub(super) fn pause(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.quick_exits).unwrap_or(u32::MAX);
        self.quick_exits = self.quick_exits.saturating_add(1);
        FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
    }

    pub(super) fn became_ready(&mut self, start: u64) {
        if self.beside.as_ref().is_some_and(|(beside, _)| beside.start == start) {
            return self.take_over();
        }
        let Some(running) = self.running.as_mut().filter(|running| running.start == start) else {
            return;
        };
        if running.ready || running.stop.is_some() {
            return;
        }
        running.ready = true;
        self.sockets.keep_only(&self.generation.launch.listen);
        (self.tell)(&format!("version {} is ready", self.generation.version));
        self.check_generation();
    }
}
