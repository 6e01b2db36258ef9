//! Clients that write to a node all the while, and waiting without sleeping blindly.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything. Nothing takes that long; it ends a test that would hang.
pub(crate) const CAP: Duration = Duration::from_secs(30);

/// Polls a condition.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + CAP;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within {CAP:?}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition with a deadline")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// One request over a connection of its own.
pub(crate) fn request(address: SocketAddr, line: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(CAP))?;
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: n\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(io::Error::other(answer)) }
}

pub(crate) fn put(address: SocketAddr, word: &str) -> io::Result<()> {
    request(address, &format!("PUT /{word}"))
}

/// Clients that write words as fast as they are answered, without retrying.
pub(crate) struct Clients {
    ended: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    pub(crate) fn start(address: SocketAddr, number: usize) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let failed = Arc::new(Mutex::new(Vec::new()));
        let client = |client: usize| {
            let (ended, count, failed) = (ended.clone(), count.clone(), failed.clone());
            std::thread::spawn(move || {
                let mut sent = Vec::new();
                for word in (0..).map(|n| format!("{client}-{n}")) {
                    if ended.load(Ordering::SeqCst) {
                        break;
                    }
                    match put(address, &word) {
                        Ok(()) => sent.push(word),
                        Err(error) => failed.lock().unwrap().push(format!("{word}: {error}")),
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
                sent
            })
        };
        let threads = (0..number).map(client).collect();
        Self { ended, count, failed, threads }
    }

    /// Waits until so many more requests have ended.
    pub(crate) fn wait_for(&self, more: usize) {
        let wanted = self.count.load(Ordering::SeqCst) + more;
        until(|| self.count.load(Ordering::SeqCst) >= wanted);
    }

    /// What was acknowledged, and what failed.
    pub(crate) fn stop(self) -> (Vec<String>, Vec<String>) {
        self.ended.store(true, Ordering::SeqCst);
        let sent = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (sent, self.failed.lock().unwrap().clone())
    }
}
