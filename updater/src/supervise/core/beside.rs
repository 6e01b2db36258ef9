//! Handing over: the generation that `current` names is started beside the one that serves, takes its place once it is
//! ready, and the other drains.
//!
//! ```text
//! running A                    beside B, not ready        B is ready
//!   serves      --hand-over-->   A serves       ------->    running B serves, draining A ends
//! B ends, or is not ready in time: A serves on.     A ends before B is ready: B becomes the running one.
//! ```
//!
//! The sockets are one open file in all of them: what nobody has accepted yet, anybody may.

use std::time::Instant;

use nix::sys::signal::Signal;

use super::{Core, Running};
use crate::generation::Generation;
use crate::supervise::{SuperviseError, process};
use crate::swap::marker;
use crate::trust_store::chain;

impl Core<'_> {
    /// Brings what `current` names to serve, beside what runs if something does. Doing it again changes nothing.
    pub(super) fn hand_over(&mut self, until: Instant) {
        if self.running.is_none() {
            return self.start();
        }
        if let Err(error) = self.try_hand_over(until) {
            let reason = chain(&error);
            (self.tell)(&format!("not handed over: {reason}"));
            self.refuse_ready(&reason, false);
        }
    }

    fn try_hand_over(&mut self, until: Instant) -> Result<(), SuperviseError> {
        let Some(running) = self.running.as_mut() else { return Ok(()) };
        if running.stop.is_some() {
            // It is ending: what `current` names is started when it has.
            return Ok(());
        }
        let current = Generation::current(&self.home)?
            .ok_or_else(|| SuperviseError::NothingInstalled(self.home.current()))?;
        if marker::bars(&self.home, current.number)? {
            return Err(SuperviseError::Migrating(current.number));
        }
        if running.generation.is_like(&current) {
            running.generation = current.clone();
            running.noted = false;
            self.generation = current;
            self.drop_beside();
            self.check_generation();
            return Ok(());
        }
        if let Some((beside, deadline)) = &mut self.beside
            && beside.generation.is_like(&current)
        {
            beside.generation = current;
            *deadline = until.max(*deadline);
            return Ok(());
        }
        if !running.generation.overlaps(&current) {
            let (from, to) = (running.generation.number, current.number);
            return Err(SuperviseError::Exclusive { from, to });
        }
        let alone = running.alone.again()?;
        self.end_mirror("another version is started beside the node");
        self.drop_beside();
        let (version, number) = (current.version.clone(), current.number);
        let beside = self.launch(current, alone)?;
        self.beside = Some((beside, until));
        (self.tell)(&format!("started version {version} (generation {number}) beside the other"));
        Ok(())
    }

    /// The one beside is ready: it serves, and the other one is told to end.
    pub(super) fn take_over(&mut self) {
        let Some(running) = &self.running else { return };
        let old = running.generation.version.clone();
        let Some(replaced) = self.promote() else { return };
        let new = &self.generation.version;
        (self.tell)(&format!(
            "version {new} is ready and serves; {old} finishes what it has begun"
        ));
        self.drain(replaced);
        if let Some(running) = &mut self.running {
            running.ready = true;
        }
        self.sockets.keep_only(&self.generation.launch.listen);
        self.check_generation();
    }

    /// Makes the one beside the running one, ready or not, and hands back whom it replaced.
    pub(super) fn promote(&mut self) -> Option<Running> {
        let (beside, _) = self.beside.take()?;
        self.generation = beside.generation.clone();
        (self.crashes, self.quick_exits, self.last_exit) = (0, 0, None);
        self.restart = None;
        let pid = beside.pid;
        let replaced = self.running.replace(beside);
        if let Err(error) = self.remember(pid) {
            (self.tell)(&format!("not noted for the next supervisor: {}", chain(&error)));
        }
        replaced
    }

    /// TERM; it is waited for beside whatever serves.
    fn drain(&mut self, mut one: Running) {
        one.stop.get_or_insert_with(Instant::now);
        let main: Vec<_> = process::stat(one.pid).filter(|_| !one.main_ended).into_iter().collect();
        process::signal(&main, Signal::SIGTERM);
        self.draining.push(one);
    }

    /// What was started beside is not wanted any more.
    pub(super) fn drop_beside(&mut self) {
        if let Some((beside, _)) = self.beside.take() {
            self.drain(beside);
        }
    }

    pub(super) fn give_up_beside(&mut self, now: Instant) {
        if let Some((beside, _)) = self.beside.take_if(|(_, until)| *until <= now) {
            let version = &beside.generation.version;
            (self.tell)(&format!("version {version} was not ready in time: the other serves on"));
            self.drain(beside);
        }
    }
}
