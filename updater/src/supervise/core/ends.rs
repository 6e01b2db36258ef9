//! How processes end: reaped, waited for with all that they started, killed after the operator's limit.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Core, Running, Waiting};
use crate::supervise::protocol::{Exit, ExitClass, Reply};
use crate::supervise::{locks, process};
use crate::trust_store::chain;

/// A node that ran for this long begins with the first pause again.
const STEADY: Duration = Duration::from_secs(60);

impl Core<'_> {
    /// Every process that was started and has not ended with all of its own.
    pub(super) fn all(&self) -> impl Iterator<Item = &Running> {
        let beside = self.beside.iter().map(|(beside, _)| beside);
        self.running.iter().chain(beside).chain(&self.draining)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Running> {
        let beside = self.beside.iter_mut().map(|(beside, _)| beside);
        self.running.iter_mut().chain(beside).chain(&mut self.draining)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// What a start has left running beside its main process. While several run, whoever cannot be told belongs to the
    /// first of them: what serves is never ended in the place of what drains.
    fn left_of(&self, one: &Running) -> Vec<process::Stat> {
        let me = std::process::id().cast_signed();
        let mut everyone = process::tree(me, Some(one.pid));
        everyone.retain(|stat| !self.mirror.pids().contains(&stat.pid));
        let others: Vec<&Running> = self.all().filter(|other| other.start != one.start).collect();
        if others.is_empty() {
            return everyone;
        }
        let own = |of: &Running, stat: &process::Stat| {
            stat.group == of.pid || process::has_variable(stat.pid, &of.notify.variable())
        };
        let is_first = self.all().next().is_some_and(|first| first.start == one.start);
        let is_main = |stat: &process::Stat| others.iter().any(|other| other.pid == stat.pid);
        let of_others = |stat: &process::Stat| others.iter().any(|other| own(other, stat));
        everyone
            .into_iter()
            .filter(|stat| !is_main(stat))
            .filter(|stat| own(one, stat) || (is_first && !of_others(stat)))
            .collect()
    }

    /// Collects every child that ended: the node's own, and those that it left to us (we are the subreaper).
    pub(super) fn reap(&mut self) {
        loop {
            let status = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(status) => status,
            };
            match status {
                WaitStatus::Exited(pid, code) => self.ended(pid.as_raw(), Some(code), None),
                WaitStatus::Signaled(pid, signal, _) => {
                    self.ended(pid.as_raw(), None, Some(signal));
                }
                _ => {}
            }
        }
        let ended = |one: &&Running| one.main_ended && self.left_of(one).is_empty();
        let gone: Vec<u64> = self.draining.iter().filter(ended).map(|one| one.start).collect();
        for one in self.all().filter(|one| one.killed && one.main_ended) {
            // Started by what got KILL before it got it.
            process::signal(&self.left_of(one), Signal::SIGKILL);
        }
        let running = self.running.as_ref().filter(ended);
        let running_is_gone = running.is_some_and(|one| one.killed || self.locked(one).is_none());
        for old in self.draining.extract_if(.., |one| gone.contains(&one.start)) {
            let version = &old.generation.version;
            (self.tell)(&format!("version {version} has finished what it had begun, and ended"));
        }
        if running_is_gone {
            self.gone();
        }
        if self.is_empty() {
            self.waiting.retain(|waiting| match waiting {
                Waiting::Stopped(reply, _) => reply.send(Reply::Stopped).is_err(),
                _ => true,
            });
        }
    }

    fn locked(&self, one: &Running) -> Option<std::path::PathBuf> {
        locks::held(&one.generation.state_dir(&self.home), &one.generation.launch.locks)
    }

    /// Why a node that got TERM is not gone yet.
    pub(super) fn stopping(&self) -> String {
        let ended = self.running.as_ref().filter(|one| one.main_ended);
        match ended.and_then(|one| self.locked(one)) {
            Some(lock) => format!("it has ended, and {} is locked still", lock.display()),
            None => "it got TERM".to_owned(),
        }
    }

    fn ended(&mut self, pid: i32, code: Option<i32>, signal: Option<Signal>) {
        if self.mirror.pids().contains(&pid) {
            return self.tee_ended(pid);
        }
        let Some(one) = self.all_mut().find(|one| one.pid == pid && !one.main_ended) else {
            return;
        };
        one.main_ended = true;
        let asked = one.stop.replace(one.stop.unwrap_or_else(Instant::now)).is_some();
        let starved =
            signal == Some(Signal::SIGKILL) && !one.killed && process::oom_kills() > one.oom_kills;
        let class = match (code, signal) {
            _ if starved => ExitClass::OutOfMemory,
            (Some(0), _) => ExitClass::Clean,
            (_, Some(_)) => ExitClass::Crashed,
            _ => ExitClass::Failed,
        };
        let signal = signal.map(|signal| signal.to_string());
        let exit = Exit { at: Timestamp::now(), code, signal, class };
        let before = if one.ready { "" } else { " before it was ready" };
        let reason = format!("version {} ended with {exit}{before}", one.generation.version);
        let steady = one.began.elapsed() > STEADY;
        let start = one.start;
        if let Some(one) = self.all().find(|one| one.start == start) {
            let left = self.left_of(one);
            process::signal(&left, Signal::SIGTERM);
            process::signal(&left, Signal::SIGCONT);
        }
        if let Some((beside, _)) = self.beside.take_if(|(beside, _)| beside.start == start) {
            self.draining.push(beside);
            self.last_exit = Some(exit);
            (self.tell)(&reason);
            return self.refuse_ready(&reason, true);
        }
        if self.running.as_ref().is_some_and(|running| running.start == start) {
            self.thaw_at = None;
            if !asked {
                self.crashed(exit, reason, steady);
            }
        }
    }

    fn crashed(&mut self, exit: Exit, reason: String, steady: bool) {
        if steady {
            self.quick_exits = 0;
        }
        self.crashes = self.crashes.saturating_add(1);
        self.last_exit = Some(exit);
        (self.tell)(&reason);
        // Its end is to be noted too.
        let pid = self.running.as_mut().map(|running| {
            running.noted = false;
            running.pid
        });
        if let Some(Err(error)) = pid.map(|pid| self.remember(pid)) {
            (self.tell)(&format!("not noted for the next supervisor: {}", chain(&error)));
        }
        let pause = self.pause();
        self.restart = Some((Instant::now() + pause, reason.clone()));
        if self.beside.is_none() {
            self.refuse_ready(&reason, true);
        }
    }

    /// Every process of the node has ended.
    fn gone(&mut self) {
        if let Some(lock) = self.running.as_ref().and_then(|one| self.locked(one)) {
            let reason = format!("the node has ended, and {} is locked still", lock.display());
            (self.tell)(&reason);
            self.waiting.retain(|waiting| match waiting {
                Waiting::Stopped(reply, _) => {
                    let refused = Reply::Refused { reason: reason.clone(), by_node: false };
                    reply.send(refused).is_err()
                }
                _ => true,
            });
        }
        self.running = None;
        self.thaw_at = None;
        if self.hold.is_some() || self.ending {
            self.restart = None;
        } else if self.beside.is_some() {
            // The one that served is gone: the next one takes its place before it is ready.
            self.promote();
        } else if self.restart.is_none() {
            self.start();
        }
    }

    /// When the operator's limit passes for the first one that has not ended.
    pub(super) fn kill_timer(&self) -> Option<Instant> {
        let limit = self.limits.kill_after?;
        let waited = self.all().filter(|one| !one.killed).filter_map(|one| one.stop);
        waited.min().map(|since| since + limit)
    }

    /// KILL, after the operator's limit only.
    pub(super) fn kill(&mut self, now: Instant) {
        let Some(limit) = self.limits.kill_after else { return };
        let late = |one: &&Running| !one.killed && one.stop.is_some_and(|at| at + limit <= now);
        let late: Vec<u64> = self.all().filter(late).map(|one| one.start).collect();
        for start in late {
            (self.tell)(&format!("KILL: the node did not end within {limit:?} of TERM"));
            let Some(one) = self.all().find(|one| one.start == start) else { continue };
            let main = process::stat(one.pid).filter(|_| !one.main_ended);
            let all: Vec<_> = self.left_of(one).into_iter().chain(main).collect();
            process::signal(&all, Signal::SIGKILL);
            if let Some(one) = self.all_mut().find(|one| one.start == start) {
                one.killed = true;
            }
        }
    }
}
