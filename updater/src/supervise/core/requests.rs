//! What the agent asks for: answered at once, or when it has come true, or when it has not.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Core, Waiting};
use crate::supervise::process;
use crate::supervise::protocol::{MAX_FREEZE_MS, MAX_HOLD_MS, MAX_MIRROR_MS, Reply, Request};

/// How long stopping every thread may take.
const FREEZE_TIME: Duration = Duration::from_secs(5);

impl Core<'_> {
    pub(super) fn answer(&mut self, request: Request, reply: Sender<Reply>) {
        let now = Instant::now();
        let hold = |ms: u64| now + Duration::from_millis(ms.min(MAX_HOLD_MS));
        let answer = match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Stop { hold_ms } => {
                self.hold = Some(hold(hold_ms));
                self.restart = None;
                let grace = Duration::from_secs(u64::from(self.generation.launch.stop_grace));
                self.stop();
                self.waiting.push_back(Waiting::Stopped(reply, now + grace));
                return;
            }
            Request::Renew { hold_ms } if self.hold.is_some() => {
                self.hold = Some(hold(hold_ms));
                Reply::Done
            }
            Request::Renew { .. } => refused("the node is not held stopped any more"),
            Request::Start { ready_ms } => {
                self.hold = None;
                let limit = Duration::from_millis(ready_ms.min(MAX_HOLD_MS));
                self.waiting.push_back(Waiting::Ready(reply, now + limit, limit));
                if self.running.is_none() {
                    self.start();
                } else {
                    self.check_generation();
                }
                return;
            }
            Request::HandOver { ready_ms } => {
                self.hold = None;
                let limit = Duration::from_millis(ready_ms.min(MAX_HOLD_MS));
                self.waiting.push_back(Waiting::Ready(reply, now + limit, limit));
                self.hand_over(now + limit);
                return;
            }
            Request::Freeze { for_ms } => self.freeze(Duration::from_millis(for_ms)),
            Request::Thaw => Reply::Thawed { was_frozen: self.thaw() },
            Request::Mirror { share, for_ms } => {
                let time = Duration::from_millis(for_ms.min(MAX_MIRROR_MS));
                self.begin_mirror(share, now + time)
            }
            Request::Unmirror => {
                self.end_mirror("the agent has seen enough");
                Reply::Done
            }
            Request::Replace => match self.busy() {
                Some(why) => refused(why),
                None => {
                    self.replaced = true;
                    Reply::Done
                }
            },
            Request::Shutdown => {
                self.waiting.push_back(Waiting::Ended(reply));
                self.end();
                return;
            }
        };
        let _hung_up = reply.send(answer);
    }

    pub(super) fn refuse_ready(&mut self, reason: &str, by_node: bool) {
        self.waiting.retain(|waiting| match waiting {
            Waiting::Ready(reply, ..) => {
                let reason = reason.to_owned();
                let _hung_up = reply.send(Reply::Refused { reason, by_node });
                false
            }
            _ => true,
        });
    }

    /// Answers who waits for readiness, if what runs is what `current` names.
    pub(super) fn check_generation(&mut self) {
        let Some(running) = self.running.as_ref().filter(|r| r.ready && r.stop.is_none()) else {
            return;
        };
        let (start, number) = (running.start, self.generation.number);
        match crate::generation::current(&self.home) {
            Ok(Some(current)) if current == number => {
                self.waiting.retain(|waiting| match waiting {
                    Waiting::Ready(reply, ..) => reply.send(Reply::Ready).is_err(),
                    _ => true,
                });
            }
            _ => self.refuse_ready(
                &format!(
                    "generation {number} runs (start {start}) and is not what `current` names"
                ),
                false,
            ),
        }
    }

    /// TERM to the main process; whoever is left when it has ended gets TERM then.
    pub(super) fn stop(&mut self) {
        self.end_mirror("the node is being stopped");
        self.thaw();
        self.drop_beside();
        if let Some(running) = self.running.as_mut().filter(|running| running.stop.is_none()) {
            running.stop = Some(Instant::now());
            let main: Vec<_> = process::stat(running.pid).into_iter().collect();
            process::signal(&main, Signal::SIGTERM);
            self.refuse_ready("the node is being stopped", false);
        }
    }

    pub(super) fn end(&mut self) {
        self.ending = true;
        self.restart = None;
        self.stop();
    }

    pub(super) fn freeze(&mut self, time: Duration) -> Reply {
        if self.running.as_ref().is_none_or(|running| running.stop.is_some()) {
            return refused("there is no running node to freeze");
        }
        let me = std::process::id().cast_signed();
        self.thaw_at = Some(Instant::now() + time.min(Duration::from_millis(MAX_FREEZE_MS)));
        if process::freeze(me, self.mirror.pids(), Instant::now() + FREEZE_TIME) {
            return Reply::Done;
        }
        self.thaw();
        refused("not every thread of the node could be stopped")
    }

    /// Whether it was frozen.
    pub(super) fn thaw(&mut self) -> bool {
        let frozen = self.thaw_at.take().is_some();
        if frozen {
            let me = std::process::id().cast_signed();
            process::signal(&process::tree(me, None), Signal::SIGCONT);
        }
        frozen
    }

    /// Who waited long enough is told how things stand.
    pub(super) fn answer_late(&mut self, now: Instant) {
        let stop = self.all().map(|running| running.stop.unwrap_or(now)).min();
        self.waiting.retain(|waiting| match (waiting, stop) {
            (Waiting::Stopped(reply, _), None) => reply.send(Reply::Stopped).is_err(),
            (Waiting::Stopped(reply, by), Some(since)) if *by <= now => {
                let for_ms = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
                let _hung_up = reply.send(Reply::Stopping { for_ms });
                false
            }
            (Waiting::Ready(reply, by, limit), _) if *by <= now => {
                let reason = format!("it was not ready within {limit:?}");
                let _hung_up = reply.send(Reply::Refused { reason, by_node: true });
                false
            }
            _ => true,
        });
    }
}

fn refused(reason: &str) -> Reply {
    Reply::Refused { reason: reason.to_owned(), by_node: false }
}
