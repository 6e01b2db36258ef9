//! `ready = "connect"`: asks the first listening socket until it answers; `ready = "notify"` needs no asking.

use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use countersign_metadata::node::Ready;

use super::core::Event;
use super::{probe, process};
use crate::generation::Launch;

/// One try.
const TRY: Duration = Duration::from_secs(2);

/// Watches process `pid`, which is start number `start`, until it is ready or has ended.
pub(super) fn watch(launch: &Launch, start: u64, pid: i32, events: Sender<Event>) {
    let Some((_, first)) =
        launch.listen.first().cloned().filter(|_| launch.ready == Ready::Connect)
    else {
        return;
    };
    let began = process::stat(pid).map(|stat| stat.start);
    let health = launch.health.clone();
    let asked = health.as_ref().and_then(|health| launch.address(&health.listen)).unwrap_or(first);
    thread::spawn(move || {
        let lives = || process::stat(pid).is_some_and(|s| Some(s.start) == began && s.state != 'Z');
        while lives() {
            let answer = match &health {
                Some(health) => probe::http(asked, &health.path, TRY),
                None => probe::connection(asked, TRY),
            };
            if answer.is_ok() {
                let _ended = events.send(Event::Ready(start));
                return;
            }
            process::breathe();
        }
    });
}
