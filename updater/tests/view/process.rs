//! The program as a process that is ended with its test, and questions to it over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::program;

/// A verb that runs until the test ends.
pub(crate) struct Running {
    child: Child,
    /// What it says, line by line.
    pub(crate) said: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    pub(crate) fn start(words: &[&str]) -> Self {
        let mut child = Command::new(program()).args(words).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }
}

impl Drop for Running {
    /// TERM, never KILL: a supervisor that is killed leaves its node behind.
    fn drop(&mut self) {
        let _ended_already = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ended_already = self.child.wait();
    }
}

pub(crate) fn run(words: &[&str]) -> Output {
    Command::new(program()).args(words).output().unwrap()
}

pub(crate) fn json(output: &Output) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
}

/// An address that nobody listens on just now.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Status, head and body of a page; `None`: nobody answers.
pub(crate) fn get(address: SocketAddr, path: &str, more: &str) -> Option<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head, answer[end + 4..].to_vec()))
}

/// A page that is there, as text.
pub(crate) fn page(address: SocketAddr, path: &str) -> String {
    let (status, head, body) = get(address, path, "").unwrap();
    assert_eq!(status, 200, "{path}: {head}");
    String::from_utf8(body).unwrap()
}
