//! Reading a request: its head within bytes and time, and nothing after it.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Instant;

use super::answer::Range;
use super::{Answer, Limits};

/// A request that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for: begins with `/`, without a query, nothing decoded.
    pub path: String,
    /// Whether only the head of the answer is wanted.
    pub(super) head_only: bool,
    /// The part that is asked for.
    pub(super) range: Option<Range>,
}

/// Headers that a request may have.
const HEADERS: usize = 64;

/// The inner error: nobody is there to be answered.
type Refused = io::Result<Answer>;

/// Reads one request that came in at `address`.
pub(super) fn read(
    mut stream: &TcpStream,
    limits: Limits,
    address: SocketAddr,
) -> Result<Request, Refused> {
    let deadline = Instant::now() + limits.head_time;
    let mut bytes = Vec::with_capacity(1024);
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Ok(Answer::text(408, "the request took too long")));
        }
        stream.set_read_timeout(Some(left)).map_err(Err)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted
                        | io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                ) =>
            {
                continue;
            }
            Err(error) => return Err(Err(error)),
        }
        if let Some(request) = parse(&bytes, address).map_err(Ok)? {
            return Ok(request);
        }
        if bytes.len() > limits.head_bytes {
            return Err(Ok(Answer::text(431, "the request is too long")));
        }
    }
}

/// `None`: it is not whole yet.
fn parse(bytes: &[u8], address: SocketAddr) -> Result<Option<Request>, Answer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Answer::text(431, "the request has too many headers"));
        }
        Err(_) => return Err(Answer::text(400, "this is not HTTP/1")),
    }
    let head_only = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Answer::text(405, "this can only be read: GET or HEAD")),
    };
    let header = |name: &str| {
        let mut found = head.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
        found.next().map(|header| std::str::from_utf8(header.value).unwrap_or_default().trim())
    };
    if address.ip().is_loopback() && !header("host").is_none_or(is_this_machine) {
        // A page in a browser whose name was pointed here (DNS rebinding) would read what only this machine may.
        return Err(Answer::text(403, "ask for this machine by its address, or as localhost"));
    }
    let path = head.path.unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(Answer::text(400, "a path begins with /"));
    }
    // A range of an older file is not ours to judge: the whole file is always right.
    let range = header("range").filter(|_| header("if-range").is_none()).and_then(Range::parse);
    Ok(Some(Request { path: path.to_owned(), head_only, range }))
}

fn is_this_machine(host: &str) -> bool {
    let without_port = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    without_port.eq_ignore_ascii_case("localhost") || without_port.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_for_on_loopback() {
        for (host, wanted) in [
            ("localhost:9120", true),
            ("127.0.0.1", true),
            ("[::1]:80", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
        ] {
            assert_eq!(is_this_machine(host), wanted, "{host}");
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let loopback = parse(head.as_bytes(), "127.0.0.1:80".parse().unwrap());
            assert_eq!(loopback.is_ok(), wanted);
            assert!(parse(head.as_bytes(), "192.0.2.1:80".parse().unwrap()).is_ok());
        }
    }
}
