//! beanstalkd's text protocol, as much of it as it takes to put jobs and to see them again.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::load::{self, Load, PATIENCE};
use super::record::{Missing, Protocol, Record};

/// The longest body that is read, in bytes: beanstalkd's own limit.
const MAX_BODY: usize = 65_535;

/// Seconds that a reserved job may take before it is ready again.
const TIME_TO_RUN: u32 = 60;

/// Starts `threads` writers, `rate` puts a second together. Every third keeps its connection.
pub fn start(address: SocketAddr, threads: usize, rate: u32) -> Load {
    let clients = (0..threads.max(1))
        .map(|number| Writer { address, keeps: number % 3 == 2, kept: None })
        .collect();
    Load::of(Protocol::Beanstalk, clients, rate)
}

/// Peeks at every acknowledged job.
///
/// # Errors
/// The daemon cannot be asked, or answers something unexpected.
pub fn read_back(address: SocketAddr, record: &Record) -> io::Result<Missing> {
    let mut missing = Missing::default();
    let mut client = Client::connect(address)?;
    for (key, value) in record.acknowledged() {
        let id = key.parse().map_err(|_| unexpected("job id", key))?;
        missing.note(key, value, client.peek(id)?.as_deref());
    }
    Ok(missing)
}

/// A connection to beanstalkd.
#[derive(Debug)]
pub struct Client(BufReader<TcpStream>);

/// A job with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number, unique as long as the binlog lives.
    pub id: u64,
    /// What was put.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Puts a job that is ready at once; returns its id.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub fn put(&mut self, body: &[u8]) -> io::Result<u64> {
        let mut command = format!("put 0 0 {TIME_TO_RUN} {}\r\n", body.len()).into_bytes();
        command.extend_from_slice(body);
        command.extend_from_slice(b"\r\n");
        let answer = self.ask(&command)?;
        let id = answer.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
        id.ok_or_else(|| unexpected("put", &answer))
    }

    /// Takes the next ready job; `None` if none came in `wait` (whole seconds).
    ///
    /// # Errors
    /// The daemon cannot be asked, or answers something unexpected.
    pub fn reserve(&mut self, wait: Duration) -> io::Result<Option<Job>> {
        let answer = self.ask(format!("reserve-with-timeout {}\r\n", wait.as_secs()).as_bytes())?;
        if answer == "TIMED_OUT" { Ok(None) } else { self.job("RESERVED ", &answer).map(Some) }
    }

    /// Deletes a job that is ready, or reserved on this connection; false if there is none.
    ///
    /// # Errors
    /// The daemon cannot be asked, or answers something unexpected.
    pub fn delete(&mut self, id: u64) -> io::Result<bool> {
        match self.ask(format!("delete {id}\r\n").as_bytes())?.as_str() {
            "DELETED" => Ok(true),
            "NOT_FOUND" => Ok(false),
            answer => Err(unexpected("delete", answer)),
        }
    }

    /// Looks at a job without taking it.
    ///
    /// # Errors
    /// The daemon cannot be asked, or answers something unexpected.
    pub fn peek(&mut self, id: u64) -> io::Result<Option<Vec<u8>>> {
        let answer = self.ask(format!("peek {id}\r\n").as_bytes())?;
        if answer == "NOT_FOUND" {
            return Ok(None);
        }
        self.job("FOUND ", &answer).map(|job| Some(job.body))
    }

    /// The daemon's statistics: `version`, `current-jobs-ready`, `total-jobs` …
    ///
    /// # Errors
    /// The daemon cannot be asked, or answers something unexpected.
    pub fn stats(&mut self) -> io::Result<BTreeMap<String, String>> {
        let answer = self.ask(b"stats\r\n")?;
        let length = answer.strip_prefix("OK ").and_then(|length| length.parse().ok());
        let body = self.body(length.ok_or_else(|| unexpected("stats", &answer))?)?;
        let text = String::from_utf8(body).map_err(|_| unexpected("stats", "no text"))?;
        let pairs = text.lines().filter_map(|line| line.split_once(": "));
        Ok(pairs
            .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
            .collect())
    }

    /// `PREFIX ID LENGTH`, then the body.
    fn job(&mut self, prefix: &str, answer: &str) -> io::Result<Job> {
        let words = answer.strip_prefix(prefix).and_then(|rest| rest.split_once(' '));
        let numbers = words.and_then(|(id, length)| Some((id.parse().ok()?, length.parse().ok()?)));
        let (id, length) = numbers.ok_or_else(|| unexpected(prefix.trim_end(), answer))?;
        Ok(Job { id, body: self.body(length)? })
    }

    fn body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err(unexpected("a body", &format!("{length} bytes")));
        }
        let mut body = vec![0; length + 2];
        self.0.read_exact(&mut body)?;
        if !body.ends_with(b"\r\n") {
            return Err(unexpected("a body", "no end"));
        }
        body.truncate(length);
        Ok(body)
    }

    fn ask(&mut self, command: &[u8]) -> io::Result<String> {
        self.0.get_mut().write_all(command)?;
        let mut line = String::new();
        (&mut self.0).take(1024).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the daemon closed the connection without an answer",
            )),
        }
    }
}

struct Writer {
    address: SocketAddr,
    keeps: bool,
    kept: Option<Client>,
}

impl load::Client for Writer {
    fn write(&mut self, _name: &str, value: &str) -> io::Result<String> {
        let mut client = match self.kept.take() {
            Some(client) => client,
            None => Client::connect(self.address)?,
        };
        let id = client.put(value.as_bytes())?;
        self.kept = self.keeps.then_some(client);
        Ok(id.to_string())
    }
}

fn unexpected(asked: &str, answer: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{asked} is answered {answer:?}"))
}
