//! Keeps what a swap holds while it is at work: the stopped node stopped, and the lease. It dies with the agent, and
//! then both run out.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::supervise::{Client, Request};
use crate::swap::Lease;

/// How long a node stays stopped when nobody renews that.
pub(super) const HOLD: Duration = Duration::from_secs(60);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn new(supervisor: Client, lease: Lease, fence: u64, lasts: Duration) -> Self {
        let (end, ended) = mpsc::channel();
        let hold_ms = u64::try_from(HOLD.as_millis()).unwrap_or(u64::MAX);
        let every = LONGEST_PAUSE.min(lasts / 4);
        let thread = thread::spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                // If one of them is lost, the next step sees it and says so.
                let _not_held = supervisor.ask(Request::Renew { hold_ms });
                if let Ok(now) = super::now() {
                    let _lost = lease.renew(fence, &now);
                }
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
