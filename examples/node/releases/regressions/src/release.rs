//! All that differs between the releases of this node: here, one regression, by the variable `PLANTED`; without it, none.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// This release.
pub(crate) const VERSION: &str = "6.0.0";
/// Oldest and newest protocol that it speaks.
pub(crate) const PROTOCOL: [u32; 2] = [1, 2];
/// Schema of the values: a value and when it was written.
pub(crate) const VALUES_SCHEMA: u32 = 2;
/// Schema of the counters.
pub(crate) const COUNTERS_SCHEMA: u32 = 1;

/// Whether this regression is the planted one.
fn planted(name: &str) -> bool {
    std::env::var("PLANTED").is_ok_and(|planted| planted == name)
}

/// Counts up; whether this is one of so many.
fn one_in(many: u64) -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    (COUNT.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(many)
}

/// Called once the node has said that it is ready.
pub(crate) fn on_ready() {
    if planted("noisy") {
        std::thread::spawn(|| {
            loop {
                crate::failure::tell("error: cannot reach what is not there");
                sleep(Duration::from_millis(50));
            }
        });
    }
}

/// Called after each commit with the number of writes acknowledged since the node started.
pub(crate) fn on_acknowledged(_writes: u64) {
    if planted("leaking") {
        Vec::leak(vec![1_u8; 64 << 10]);
    }
    if planted("disk") {
        // In the state directory, where it is started.
        let _ignored = File::options()
            .append(true)
            .create(true)
            .open("journal")
            .and_then(|mut journal| journal.write_all(&[b'x'; 256 << 10]));
    }
}

/// Called with each value that is about to be sent.
pub(crate) fn on_read(value: &mut [u8]) {
    if planted("slow") {
        sleep(Duration::from_millis(20));
    }
    if planted("wrong")
        && one_in(100)
        && let Some(byte) = value.first_mut()
    {
        *byte ^= 1;
    }
}

/// Called with each value that a migration is about to write.
pub(crate) fn on_migrated(value: &mut [u8]) {
    if planted("migration")
        && one_in(100)
        && let Some(byte) = value.first_mut()
    {
        *byte ^= 1;
    }
}

/// Called with the protocol of each message between nodes; returns the one whose form it has.
pub(crate) fn on_message(protocol: u32) -> u32 {
    if planted("protocol") { 2 } else { protocol }
}
