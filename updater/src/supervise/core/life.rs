//! The node's life: started, ready, ended, started again.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Core, Running, Waiting};
use crate::generation::Generation;
use crate::state::data_dir::Alone;
use crate::supervise::notify::NotifySocket;
use crate::supervise::orphan::NodeFile;
use crate::supervise::protocol::{Exit, Reply};
use crate::supervise::{SuperviseError, launch, process, ready};
use crate::swap::marker;
use crate::trust_store::chain;

/// First pause before a node that exited is started again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A node that ran for this long begins with the first pause again.
const STEADY: Duration = Duration::from_secs(60);

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
            (self.crashes, self.quick_exits, self.last_exit) = (0, 0, None);
        }
        self.generation = generation;
        self.starts += 1;
        let alone = Alone::with(&self.home, &self.generation.state_dir(&self.home))?;
        self.sockets.open(&self.generation.launch.listen)?;
        let descriptors = self.sockets.descriptors(&self.generation.launch.listen)?;
        let notify = NotifySocket::open(&self.home.run(), self.starts, self.events.clone())?;
        let pid = launch::spawn(
            &self.home,
            &self.generation,
            descriptors,
            alone.handles()?,
            notify.path(),
        )?;
        self.running = Some(Running {
            pid,
            start: self.starts,
            since: Timestamp::now(),
            began: Instant::now(),
            ready: false,
            main_ended: false,
            noted: false,
            stop: None,
            notify,
            _alone: alone,
        });
        // A disk that is full keeps no node down; it is tried again, and the lock finds the node without a note.
        if let Err(error) = self.remember(pid) {
            (self.tell)(&format!("not noted for the next supervisor: {}", chain(&error)));
        }
        ready::watch(&self.generation.launch, self.starts, pid, self.events.clone());
        Ok(())
    }

    /// For a supervisor that comes after this one.
    fn remember(&mut self, pid: i32) -> Result<(), SuperviseError> {
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

    /// Collects every child that ended: the node's own, and those that it left to us (we are the subreaper).
    pub(super) fn reap(&mut self) {
        loop {
            let status = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(status) => status,
            };
            let exit = match status {
                WaitStatus::Exited(pid, code) => (pid, Some(code), None),
                WaitStatus::Signaled(pid, signal, _) => (pid, None, Some(signal.to_string())),
                _ => continue,
            };
            let (pid, code, signal) = exit;
            if self.running.as_ref().is_some_and(|running| running.pid == pid.as_raw()) {
                self.main_ended(Exit { at: Timestamp::now(), code, signal });
            }
        }
        let Some(running) = self.running.as_mut().filter(|running| running.main_ended) else {
            return;
        };
        let left = process::tree(std::process::id().cast_signed(), Some(running.pid));
        if left.is_empty() {
            self.gone();
        }
    }

    pub(super) fn main_ended(&mut self, exit: Exit) {
        let Some(running) = &mut self.running else { return };
        running.main_ended = true;
        let left = process::tree(std::process::id().cast_signed(), Some(running.pid));
        process::signal(&left, Signal::SIGTERM);
        process::signal(&left, Signal::SIGCONT);
        self.thaw_at = None;
        if running.stop.replace(Instant::now()).is_some() {
            return;
        }
        let before = if running.ready { "" } else { " before it was ready" };
        let version = &self.generation.version;
        let reason = format!("version {version} ended with {exit}{before}");
        if running.began.elapsed() > STEADY {
            self.quick_exits = 0;
        }
        self.crashes = self.crashes.saturating_add(1);
        self.last_exit = Some(exit);
        // Its end is to be noted too.
        running.noted = false;
        let pid = running.pid;
        (self.tell)(&reason);
        if let Err(error) = self.remember(pid) {
            (self.tell)(&format!("not noted for the next supervisor: {}", chain(&error)));
        }
        let pause = self.pause();
        self.restart = Some((Instant::now() + pause, reason.clone()));
        self.refuse_ready(&reason, true);
    }

    /// Every process of the node has ended.
    pub(super) fn gone(&mut self) {
        self.running = None;
        self.thaw_at = None;
        self.waiting.retain(|waiting| match waiting {
            Waiting::Stopped(reply, _) => reply.send(Reply::Stopped).is_err(),
            _ => true,
        });
        if self.hold.is_some() || self.ending {
            self.restart = None;
        } else if self.restart.is_none() {
            self.start();
        }
    }
}
