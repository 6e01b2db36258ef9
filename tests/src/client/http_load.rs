//! Load on the example node: most requests on a connection of their own, some on connections that are kept.
//!
//! A client that keeps its connection honours `Connection: close`, as HTTP asks of it; nothing else is forgiven, and
//! nothing is tried twice.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::load::{Client, Load, PATIENCE};
use super::record::{Missing, Protocol, Record};

/// The longest answer that is read, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Starts `threads` writers, `rate` requests a second together. Every third keeps its connection.
pub fn start(address: SocketAddr, threads: usize, rate: u32) -> Load {
    let clients = (0..threads.max(1))
        .map(|number| Writer { address, keeps: number % 3 == 2, kept: None })
        .collect();
    Load::of(Protocol::Http, clients, rate)
}

/// Reads every acknowledged value.
///
/// # Errors
/// The node cannot be asked, or answers neither with a value nor with 404.
pub fn read_back(address: SocketAddr, record: &Record) -> io::Result<Missing> {
    let mut missing = Missing::default();
    let mut kept = None;
    for (key, value) in record.acknowledged() {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(address)?,
        };
        let answer = connection.ask("GET", &format!("/kv/{key}"), "", true)?;
        let found = match answer.status {
            200 => Some(answer.body.as_slice()),
            404 => None,
            status => return Err(io::Error::other(format!("GET {key} is answered {status}"))),
        };
        missing.note(key, value, found);
        kept = (!answer.last).then_some(connection);
    }
    Ok(missing)
}

/// Asks the node for one page, on a connection of its own.
///
/// # Errors
/// The node cannot be asked, or answers anything but 200.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let answer = Connection::open(address)?.ask("GET", path, "", false)?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(io::Error::other(format!("GET {path} is answered {status}"))),
    }
}

struct Writer {
    address: SocketAddr,
    keeps: bool,
    kept: Option<Connection>,
}

impl Client for Writer {
    fn write(&mut self, name: &str, value: &str) -> io::Result<String> {
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.address)?,
        };
        let answer = connection.ask("PUT", &format!("/kv/{name}"), value, self.keeps)?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("the node answered {}", answer.status)));
        }
        if self.keeps && !answer.last {
            self.kept = Some(connection);
        }
        Ok(name.to_owned())
    }
}

struct Answer {
    status: u16,
    last: bool,
    body: Vec<u8>,
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, method: &str, path: &str, body: &str, keep: bool) -> io::Result<Answer> {
        let connection = if keep { "keep-alive" } else { "close" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| malformed("no status"))?;
        let (mut length, mut last) = (None, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => length = value.parse().ok(),
                Some(("connection", value)) => last = value == "close",
                Some(_) => {}
                None if line.is_empty() => break,
                None => return Err(malformed("a header without a colon")),
            }
        }
        let length = length.filter(|length| *length <= MAX_BODY);
        let mut body = vec![0; length.ok_or_else(|| malformed("no length that makes sense"))?];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, last, body })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.0).take(8192).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None if line.is_empty() => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the node closed the connection without an answer",
            )),
            None => Err(malformed("a line without an end")),
        }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer has {what}"))
}
