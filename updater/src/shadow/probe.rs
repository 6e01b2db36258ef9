//! Asks a node over a connection: an HTTP GET with a limit on everything that comes back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest answer read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, or its beginning.
    pub body: Vec<u8>,
}

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The connection failed, or nothing came in time.
    #[error("no answer")]
    Io(#[from] io::Error),
    /// Something else than HTTP came.
    #[error("the answer is not HTTP")]
    NotHttp,
}

/// Sends `GET path` over `stream` and reads the answer, all within `limit`.
///
/// # Errors
/// No answer, or none that is HTTP.
pub fn health(mut stream: TcpStream, path: &str, limit: Duration) -> Result<Answer, ProbeError> {
    let deadline = Instant::now() + limit;
    stream.set_write_timeout(Some(limit))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        bytes.extend_from_slice(&buffer[..read]);
        if read == 0 || bytes.len() >= MAX_ANSWER || is_whole(&bytes) {
            return parse(&bytes);
        }
    }
}

/// Whether a peer keeps an idle connection open for `wait`: it has taken it, or will.
///
/// # Errors
/// The connection failed.
pub(super) fn stays_open(mut stream: &TcpStream, wait: Duration) -> Result<bool, io::Error> {
    stream.set_read_timeout(Some(wait))?;
    let mut byte = [0; 1];
    match stream.read(&mut byte) {
        Ok(0) => Ok(false),
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(true)
        }
        Err(_) => Ok(false),
    }
}

/// Whether the answer says how long it is and all of it is there. Others end with the connection.
fn is_whole(bytes: &[u8]) -> bool {
    let Some((head, body)) = split(bytes) else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]))
}

fn parse(bytes: &[u8]) -> Result<Answer, ProbeError> {
    let (head, body) = split(bytes).ok_or(ProbeError::NotHttp)?;
    let first = head.lines().next().unwrap_or_default();
    let mut words = first.split(' ');
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.parse().ok());
    match status.filter(|_| http) {
        Some(status) => Ok(Answer { status, body: body.to_vec() }),
        None => Err(ProbeError::NotHttp),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answered(text: &'static str, hang: bool) -> Result<Answer, ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(text.as_bytes()).unwrap();
        let peer = hang.then_some(peer);
        let answer = health(stream, "/", Duration::from_millis(if hang { 200 } else { 30_000 }));
        drop(peer);
        answer
    }

    #[test]
    fn an_answer_of_known_length_needs_no_end_of_the_connection() {
        let answer = answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", true).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"hi".as_slice()));
    }

    #[test]
    fn a_peer_that_says_nothing_or_nonsense_is_no_answer() {
        assert!(matches!(answered("", true), Err(ProbeError::Io(_))));
        assert!(matches!(answered("220 mail ready\r\n\r\n", false), Err(ProbeError::NotHttp)));
        assert_eq!(answered("HTTP/1.0 503 No\r\n\r\n", false).unwrap().status, 503);
    }
}
