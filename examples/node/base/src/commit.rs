//! Group commit: one thread appends what has gathered, waits for the disk once, then answers all of it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use crate::api::Shared;
use crate::failure::Outcome;
use crate::release;
use crate::state::{Area, Entry, Log};

/// How often the counters are written.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// A change on its way to the disk.
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    /// Told once the change is on disk; dropped without a word if it never gets there.
    pub(crate) done: SyncSender<()>,
}

/// Commits until every sender is gone, then saves the counters.
///
/// # Errors
/// The disk refused a write. Whether it is there is then unknown, so the node must stop without acknowledging it.
pub(crate) fn run(mut log: Log, shared: &Shared, pending: &Receiver<Pending>) -> Outcome<()> {
    let mut acknowledged = 0;
    let mut saved = Instant::now();
    loop {
        match pending.recv_timeout(SAVE_EVERY) {
            Ok(first) => {
                acknowledged += commit(&mut log, shared, first, pending)?;
                release::on_acknowledged(acknowledged);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if saved.elapsed() >= SAVE_EVERY {
            shared.save(&log)?;
            saved = Instant::now();
        }
    }
    shared.save(&log)
}

/// One batch: append and fsync, make it visible, acknowledge. Returns its number of records.
fn commit(
    log: &mut Log,
    shared: &Shared,
    first: Pending,
    pending: &Receiver<Pending>,
) -> Outcome<u64> {
    let schema = Area::Values.known();
    let now = unix_millis();
    let mut payload = Vec::new();
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(mut write) = next {
        write.entry.written_at = now;
        write.entry.encode(schema, &mut payload);
        batch.push(write);
        next = if payload.len() < Log::BATCH_IS_FULL { pending.try_recv().ok() } else { None };
    }
    log.append(&payload)?;
    let records = batch.len() as u64;
    let answers = shared.apply(batch);
    for done in answers {
        // Whoever waited for it may be gone; the write stays.
        let _gone = done.send(());
    }
    Ok(records)
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}
