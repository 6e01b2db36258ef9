//! `WATCHDOG=1`: said as often as systemd wants it, while the thread that decides answers.

use std::sync::mpsc::{self, Sender};
use std::thread;

use super::core::Event;
use super::protocol::Request;
use crate::systemd;

/// Asks the core as the agent would. One that no longer answers is as good as dead, and systemd starts another.
pub(super) fn start(events: &Sender<Event>) {
    let Some(time) = systemd::watchdog() else { return };
    let events = events.clone();
    thread::spawn(move || {
        loop {
            let (reply, answer) = mpsc::channel();
            if events.send(Event::Asked(Request::Status, reply)).is_err() {
                break;
            }
            if answer.recv_timeout(time).is_ok() {
                systemd::notify("WATCHDOG=1");
            }
            thread::park_timeout(time / 3);
        }
    });
}
