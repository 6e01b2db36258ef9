//! Sending an answer: its length known beforehand, a part of it where that was asked for, at a least speed.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde::Serialize;

/// What a request is answered with.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    kind: &'static str,
    body: Body,
}

/// The bytes of an answer.
#[derive(Debug)]
pub enum Body {
    /// At hand.
    Bytes(Vec<u8>),
    /// In a file of this length.
    File(File, u64),
}

impl Answer {
    /// These bytes, of this media type.
    pub fn of(kind: &'static str, body: Body) -> Self {
        Self { status: 200, kind, body }
    }

    /// A sentence.
    pub fn text(status: u16, text: &str) -> Self {
        let body = Body::Bytes(format!("{text}\n").into_bytes());
        Self { status, kind: "text/plain; charset=utf-8", body }
    }

    /// One JSON document.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                Self { status, kind: "application/json", body: Body::Bytes(bytes) }
            }
            Err(error) => Self::text(500, &format!("cannot be written as JSON: {error}")),
        }
    }

    /// There is no such page.
    pub fn not_found() -> Self {
        Self::text(404, "there is no such page")
    }

    pub(super) fn send(
        self,
        mut stream: &TcpStream,
        stall: Duration,
        head_only: bool,
        range: Option<Range>,
    ) -> io::Result<()> {
        let Self { status, kind, mut body } = self;
        let whole = body.length();
        let asked = range.filter(|_| status == 200).map(|range| range.within(whole));
        let (status, from, length) = match asked {
            None => (status, 0, whole),
            Some(Some((from, length))) => (206, from, length),
            Some(None) => (416, 0, 0),
        };
        let mut head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Accept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n",
            reason(status)
        );
        match status {
            206 => {
                head += &format!("Content-Range: bytes {from}-{}/{whole}\r\n", from + length - 1)
            }
            416 => head += &format!("Content-Range: bytes */{whole}\r\n"),
            405 => head += "Allow: GET, HEAD\r\n",
            _ => {}
        }
        head += "\r\n";
        stream.set_write_timeout(Some(stall))?;
        stream.write_all(head.as_bytes())?;
        if !head_only {
            let slow = Duration::from_secs(length / SLOWEST);
            copy(&mut body, stream, (from, length), Instant::now() + stall + slow)?;
        }
        close(stream)
    }

    /// Sends what fits at once, and waits for nothing.
    pub(super) fn send_at_once(self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        self.send(stream, Duration::from_millis(1), false, None)
    }
}

/// Bytes a second below which a peer is hung up on.
const SLOWEST: u64 = 4 << 10;
const CHUNK: u64 = 64 << 10;

impl Body {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

fn copy(
    body: &mut Body,
    mut to: &TcpStream,
    (from, length): (u64, u64),
    deadline: Instant,
) -> io::Result<()> {
    let mut bytes;
    let file: &mut dyn Read = match body {
        Body::Bytes(all) => {
            bytes = Cursor::new(all);
            bytes.set_position(from);
            &mut bytes
        }
        Body::File(file, _) => {
            file.seek(SeekFrom::Start(from))?;
            file
        }
    };
    let mut left = length;
    let mut chunk = vec![0; usize::try_from(length.min(CHUNK)).unwrap_or(0)];
    while left > 0 {
        let wanted = usize::try_from(left.min(CHUNK)).unwrap_or(chunk.len());
        let read = file.read(&mut chunk[..wanted])?;
        if read == 0 {
            // The file became shorter: the length was a promise, and hanging up says that it is broken.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        to.write_all(&chunk[..read])?;
        left -= read as u64;
    }
    Ok(())
}

/// Closes so that the peer reads the answer whole: bytes of its own that nobody read would make the kernel reset the connection.
fn close(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut rest = [0; 4096];
    for _ in 0..16 {
        if matches!(stream.read(&mut rest), Ok(0) | Err(_)) {
            break;
        }
    }
    Ok(())
}

/// One range of bytes, as it was asked for. Several at once are answered with the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// From here to there, both inside.
    FromTo(u64, u64),
    /// The last so many.
    Last(u64),
}

impl Range {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        match (from, to) {
            ("", last) => number(last).map(Self::Last),
            (from, "") => number(from).map(|from| Self::FromTo(from, u64::MAX)),
            (from, to) => match (number(from)?, number(to)?) {
                (from, to) if from <= to => Some(Self::FromTo(from, to)),
                _ => None,
            },
        }
    }

    /// Begin and length; `None`: no byte of it is there.
    fn within(self, whole: u64) -> Option<(u64, u64)> {
        let (from, end) = match self {
            Self::FromTo(from, to) => (from, to.saturating_add(1).min(whole)),
            Self::Last(last) => (whole.saturating_sub(last), whole),
        };
        (from < end).then(|| (from, end - from))
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}
