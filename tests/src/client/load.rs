//! The pace of a load: threads that each write at their share of the rate, and make up for what a stall cost them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::record::{Protocol, Record, Request, unix_ms};

/// How long a request may take before it counts as failed. Far longer than any swap: a slow answer is no failure.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One thread's client. It decides about its connections, and never sends a value twice.
pub(super) trait Client: Send + 'static {
    /// Writes one value. `name` is unique; the key comes back, as some protocols choose it.
    fn write(&mut self, name: &str, value: &str) -> io::Result<String>;
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    protocol: Protocol,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<Request>>>,
}

impl Load {
    /// Starts one thread a client, `rate` requests a second together.
    pub(super) fn of(protocol: Protocol, clients: Vec<impl Client>, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (acknowledged, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let run = unix_ms();
        let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1) * count / rate.max(1);
        let threads = clients
            .into_iter()
            .enumerate()
            .map(|(thread, client)| {
                let worker = Worker {
                    client,
                    prefix: format!("load.{run}.{thread}"),
                    stop: stop.clone(),
                    acknowledged: acknowledged.clone(),
                    failed: failed.clone(),
                };
                std::thread::spawn(move || worker.run(interval))
            })
            .collect();
        Self { protocol, stop, acknowledged, failed, threads }
    }

    /// Requests acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Requests failed so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Acquire)
    }

    /// Finishes the requests that have begun and returns what was seen.
    ///
    /// # Errors
    /// A thread of the load died.
    pub fn stop(self) -> io::Result<Record> {
        self.stop.store(true, Ordering::Release);
        let mut requests = Vec::new();
        for thread in self.threads {
            let seen = thread.join().map_err(|_| io::Error::other("a thread of the load died"))?;
            requests.extend(seen);
        }
        requests.sort_by_key(|request| request.ended);
        Ok(Record { protocol: self.protocol, requests })
    }
}

struct Worker<C> {
    client: C,
    prefix: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl<C: Client> Worker<C> {
    fn run(mut self, interval: Duration) -> Vec<Request> {
        let mut seen = Vec::new();
        let mut due = Instant::now();
        let mut number = 0_u64;
        while !self.stop.load(Ordering::Acquire) {
            let wait = due.saturating_duration_since(Instant::now());
            // In short pieces, so that a slow pace does not delay the end.
            if wait > Duration::ZERO {
                std::thread::sleep(wait.min(Duration::from_millis(50)));
                continue;
            }
            due += interval;
            let name = format!("{}.{number}", self.prefix);
            number += 1;
            seen.push(self.write(&name));
        }
        seen
    }

    fn write(&mut self, name: &str) -> Request {
        let value = format!("{name} is written once");
        let started = unix_ms();
        let done = self.client.write(name, &value);
        let ended = unix_ms();
        let (key, failure, count) = match done {
            Ok(key) => (key, None, &self.acknowledged),
            Err(error) => (name.to_owned(), Some(error.to_string()), &self.failed),
        };
        count.fetch_add(1, Ordering::AcqRel);
        Request { key, value, started, ended, failure }
    }
}
