//! A line to a node in a sandbox: one connection, kept open as long as the node keeps it, one question at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use countersign_sandbox::Running;

use super::http::{self, Found};
use super::replies::{MAX_BODY, Reply};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer read, in bytes: a body, and a head before it.
const LONGEST: usize = MAX_BODY + (16 << 10);

/// Where an answer ends, if not with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As HTTP says; the answer to `HEAD` has no body.
    Http { head: bool },
    /// With these bytes.
    With(Vec<u8>),
}

/// A line to one socket of a node.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    open: Option<TcpStream>,
}

impl Line {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Asks, and waits for the answer. A node may close a connection that it has kept: then it is asked once more, on a new one.
    pub(super) fn ask(&mut self, running: &Running, request: &[u8], end: &End) -> Reply {
        if let Some(stream) = self.open.take()
            && let Some(reply) = self.over(stream, request, end, true)
        {
            return reply;
        }
        let began = Instant::now();
        match running.connect(self.address) {
            Err(_) => Reply::failed("it takes no connection", began.elapsed()),
            Ok(stream) => {
                let failed = || Reply::failed("the connection broke", began.elapsed());
                self.over(stream, request, end, false).unwrap_or_else(failed)
            }
        }
    }

    /// `None`: the connection had ended before the first byte of an answer.
    fn over(
        &mut self,
        mut stream: TcpStream,
        request: &[u8],
        end: &End,
        kept: bool,
    ) -> Option<Reply> {
        let began = Instant::now();
        let sent = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| stream.write_all(request));
        if let Err(error) = sent {
            let silent = is_silence(&error);
            return silent.then(|| Reply::failed("it takes no request", began.elapsed()));
        }
        let mut bytes = Vec::new();
        let mut buffer = [0; 8 << 10];
        let is_last = loop {
            if let Some(is_last) = whole(&mut bytes, end) {
                break is_last;
            }
            let left = PATIENCE.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Some(Reply::failed("it gave no answer in time", began.elapsed()));
            }
            let read = stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut buffer));
            match read {
                Ok(0) if bytes.is_empty() && kept => return None,
                Ok(0) if bytes.is_empty() => {
                    return Some(Reply::failed("it closed without an answer", began.elapsed()));
                }
                Ok(0) => return Some(Reply::parse(&bytes, began.elapsed())),
                Ok(read) => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(error) if is_silence(&error) => {}
                Err(_) if bytes.is_empty() && kept => return None,
                Err(_) => return Some(Reply::failed("the connection broke", began.elapsed())),
            }
            if bytes.len() >= LONGEST {
                return Some(Reply::parse(&bytes, began.elapsed()));
            }
        };
        self.open = (!is_last).then_some(stream);
        Some(Reply::parse(&bytes, began.elapsed()))
    }
}

fn is_silence(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// Where all of an answer is there, by its own word: whether the connection ends with it. What announces an answer is dropped.
fn whole(bytes: &mut Vec<u8>, end: &End) -> Option<bool> {
    let head = match end {
        End::With(end) => return bytes.ends_with(end).then_some(false),
        End::Http { head } => *head,
    };
    loop {
        match http::reply(bytes, head) {
            Found::Whole(message) if message.status < 200 => drop(bytes.drain(..message.length)),
            Found::Whole(message) => return Some(message.is_last),
            // Where it ends, the connection says.
            Found::Partial | Found::UntilEnd | Found::Other(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_it_says() {
        let http = End::Http { head: false };
        let is_whole = |text: &str, end: &End| whole(&mut text.into(), end).is_some();
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";
        assert!(!is_whole("HTTP/1.1 200 OK\r\n", &http));
        assert!(!is_whole(&format!("{head}ab"), &http));
        assert!(is_whole(&format!("{head}abc"), &http));
        assert!(is_whole(head, &End::Http { head: true }));
        assert!(!is_whole("HTTP/1.1 200 OK\r\n\r\nabc", &http), "it ends with the connection");
        assert!(is_whole("HTTP/1.1 204 No\r\n\r\n", &http));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        assert!(!is_whole(chunked, &http));
        assert!(is_whole(&format!("{chunked}0\r\n\r\n"), &http));
        let mut announced = format!("HTTP/1.1 100 Continue\r\n\r\n{head}abc").into_bytes();
        assert_eq!(whole(&mut announced, &http), Some(false));
        assert!(announced.starts_with(b"HTTP/1.1 200"));
        let mut last = b"HTTP/1.0 204 No\r\n\r\n".to_vec();
        assert_eq!(whole(&mut last, &http), Some(true));
        let line = End::With(b"\r\n".to_vec());
        assert!(!is_whole("OK", &line) && is_whole("OK\r\n", &line));
    }
}
