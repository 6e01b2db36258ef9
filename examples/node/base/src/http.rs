//! HTTP/1.1, as much of it as a key-value node needs.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::state::MAX_VALUE;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 8 << 10;
/// How long a request may take to arrive once it has begun, and its answer to leave.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one look at a silent connection takes.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// A request that has arrived as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    /// The client will not use the connection again.
    pub(crate) last: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    kind: &'static str,
    body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(status: u16, text: &str) -> Self {
        let body = format!("{text}\n").into_bytes();
        Self { status, headers: Vec::new(), kind: "text/plain", body }
    }

    pub(crate) fn json(json: String) -> Self {
        Self { kind: "application/json", ..Self::bytes((json + "\n").into_bytes()) }
    }

    pub(crate) fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), kind: "application/octet-stream", body }
    }
}

/// Why no request came out of a connection.
pub(crate) enum Broken {
    /// The client is gone, or too slow; there is nobody to answer.
    Gone,
    /// What it sent makes no sense; this is the answer.
    Refused(Response),
}

/// What one look at a connection between two requests found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Request,
    Quiet,
    Gone,
}

/// A client's connection with what was read ahead.
pub(crate) struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// Waits up to [`LOOK`] for the beginning of a request.
    pub(crate) fn look(&mut self) -> Look {
        if !self.ahead.is_empty() {
            return Look::Request;
        }
        match self.read_more() {
            Ok(0) => Look::Gone,
            Ok(_) => Look::Request,
            Err(error) if is_quiet(&error) => Look::Quiet,
            Err(_) => Look::Gone,
        }
    }

    /// Reads the request that has begun.
    pub(crate) fn request(&mut self) -> Result<Request, Broken> {
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.ahead.len() > MAX_HEAD {
                return Err(Broken::Refused(Response::text(431, "the head is too long")));
            }
            self.more_before(deadline)?;
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        let (mut request, length, asks) = parse(&head).map_err(Broken::Refused)?;
        if asks && self.ahead.len() < length {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| Broken::Gone)?;
        }
        while self.ahead.len() < length {
            self.more_before(deadline)?;
        }
        request.body = self.ahead.drain(..length).collect();
        Ok(request)
    }

    /// Sends an answer; `last` tells the client that it is the connection's last.
    pub(crate) fn respond(&mut self, response: &Response, last: bool) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
        for (name, value) in &response.headers {
            // Writing to a String cannot fail.
            let _infallible = write!(head, "{name}: {value}\r\n");
        }
        let connection = if last { "close" } else { "keep-alive" };
        let _infallible = write!(
            head,
            "Content-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            response.kind,
            response.body.len()
        );
        self.stream.write_all(&[head.into_bytes(), response.body.clone()].concat())
    }

    /// Closes after the last answer. Closing with unread bytes would reset the connection and could take the answer
    /// with it, so what the client still sends is read away for a moment.
    pub(crate) fn close(mut self) {
        let deadline = Instant::now() + LOOK * 5;
        let mut open = self.stream.shutdown(Shutdown::Write).is_ok();
        while open && Instant::now() < deadline {
            self.ahead.clear();
            open = match self.read_more() {
                Ok(read) => read > 0,
                Err(error) => is_quiet(&error),
            };
        }
    }

    fn more_before(&mut self, deadline: Instant) -> Result<(), Broken> {
        loop {
            match self.read_more() {
                Ok(0) => return Err(Broken::Gone),
                Ok(_) => return Ok(()),
                Err(error) if is_quiet(&error) && Instant::now() < deadline => {}
                Err(_) => return Err(Broken::Gone),
            }
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 << 10];
        let read = self.stream.read(&mut chunk)?;
        self.ahead.extend_from_slice(&chunk[..read]);
        Ok(read)
    }
}

/// A read that ran into its time limit, or was interrupted: nothing came.
fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The request without its body, the body's length, and whether the client waits to be asked for it.
fn parse(head: &[u8]) -> Result<(Request, usize, bool), Response> {
    let bad = |text| Response::text(400, text);
    let head = str::from_utf8(head).map_err(|_| bad("the head is not text"))?;
    let mut lines = head.split("\r\n");
    let words: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, path, version] = words[..] else {
        return Err(bad("the first line is not a request"));
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(Response::text(505, "this speaks HTTP/1.1"));
    }
    let (mut length, mut last, mut asks) = (0, version == "HTTP/1.0", false);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header has no colon"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                length = value.parse().map_err(|_| bad("Content-Length is not a number"))?;
            }
            "transfer-encoding" => return Err(Response::text(411, "send a Content-Length")),
            "connection" => last = value.eq_ignore_ascii_case("close"),
            "expect" => asks = value.eq_ignore_ascii_case("100-continue"),
            _ => {}
        }
    }
    if length > MAX_VALUE {
        return Err(Response::text(413, "a value is at most 65536 bytes"));
    }
    let request =
        Request { method: method.to_owned(), path: path.to_owned(), body: Vec::new(), last };
    Ok((request, length, asks))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    }
}
