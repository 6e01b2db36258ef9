//! Nodes among themselves: a hello that says which protocols one speaks, and one value that is given and taken.
//!
//! ```text
//! GET  /peer/hello      examplenode 1 2             oldest and newest protocol
//! POST /peer/1          KEY \n VALUE                the peer writes it, and answers with what it has now, in the same form
//! POST /peer/2          KEY LENGTH \n VALUE         protocol 2 knows a value that was cut off
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::failure::{Failure, INPUT, OrFail, Outcome, answer};
use crate::http::{Request, Response};
use crate::release;

/// How long a peer may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 128 << 10;

/// A key and its value on their way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
}

impl Message {
    /// As `protocol` has it.
    pub(crate) fn write(&self, protocol: u32) -> Vec<u8> {
        let head = match release::on_message(protocol) {
            1 => format!("{}\n", self.key),
            _ => format!("{} {}\n", self.key, self.value.len()),
        };
        [head.as_bytes(), &self.value].concat()
    }

    /// `None`: `protocol` has no such message.
    pub(crate) fn read(protocol: u32, bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, value) = (str::from_utf8(&bytes[..end]).ok()?, bytes[end + 1..].to_vec());
        let key = match release::on_message(protocol) {
            1 => head,
            _ => {
                let (key, length) = head.split_once(' ')?;
                (length.parse() == Ok(value.len())).then_some(key)?
            }
        };
        Some(Self { key: key.to_owned(), value })
    }
}

/// What a peer is told first.
pub(crate) fn hello() -> String {
    let [oldest, newest] = release::PROTOCOL;
    format!("examplenode {oldest} {newest}")
}

/// The protocol and the message of a request, or what is wrong with it.
pub(crate) fn asked(protocol: &str, request: &Request) -> Result<(u32, Message), Response> {
    let [oldest, newest] = release::PROTOCOL;
    let spoken = protocol.parse().ok().filter(|protocol| (oldest..=newest).contains(protocol));
    let Some(protocol) = spoken else {
        return Err(Response::text(404, &format!("this speaks protocols {oldest} to {newest}")));
    };
    if request.method != "POST" {
        return Err(Response::text(405, "a peer takes POST"));
    }
    let message = Message::read(protocol, &request.body);
    Ok((protocol, message.ok_or_else(|| Response::text(400, "not a message of this protocol"))?))
}

/// Gives a value to the peer, and what the peer then has to the own node: both must say the same.
pub(crate) struct Exchange {
    pub(crate) own: SocketAddr,
    pub(crate) peer: SocketAddr,
}

impl Exchange {
    pub(crate) fn run(self) -> Outcome<()> {
        let value = format!("given by {}", release::VERSION).into_bytes();
        let given = Message { key: "peer.value".to_owned(), value };
        let (protocol, taken) = give(self.peer, &given)?;
        let (_, kept) = give(self.own, &taken)?;
        if taken != given || kept != given {
            return Err(Failure::new(INPUT, "what came back is not what was given"));
        }
        answer(&format!("exchanged a value by protocol {protocol}"));
        Ok(())
    }
}

/// One message to a node, in the newest protocol that it speaks and we do; and its answer.
fn give(node: SocketAddr, message: &Message) -> Outcome<(u32, Message)> {
    let said = ask(node, "GET /peer/hello", &[])?;
    let said = String::from_utf8_lossy(&said);
    let words: Vec<_> = said.split_whitespace().collect();
    let range = match words[..] {
        ["examplenode", oldest, newest] => oldest.parse().ok().zip(newest.parse().ok()),
        _ => None,
    };
    let (oldest, newest): (u32, u32) =
        range.ok_or_else(|| Failure::new(INPUT, format!("{node} does not say hello: {said:?}")))?;
    let protocol = newest.min(release::PROTOCOL[1]);
    if protocol < oldest.max(release::PROTOCOL[0]) {
        return Err(Failure::new(INPUT, format!("{node} speaks protocols {oldest} to {newest}")));
    }
    let came = ask(node, &format!("POST /peer/{protocol}"), &message.write(protocol))?;
    let came = Message::read(protocol, &came).ok_or_else(|| {
        Failure::new(INPUT, format!("{node} answers otherwise than protocol {protocol} has it"))
    })?;
    Ok((protocol, came))
}

/// The body of the answer, if its status is 200.
fn ask(node: SocketAddr, line: &str, body: &[u8]) -> Outcome<Vec<u8>> {
    let speak = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&node, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        let head =
            format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = speak().or_fail(format_args!("talk to {node}"))?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    match end.filter(|_| bytes.starts_with(b"HTTP/1.1 200 ")) {
        Some(end) => Ok(bytes[end + 4..].to_vec()),
        None => {
            let said = String::from_utf8_lossy(&bytes);
            Err(Failure::new(INPUT, format!("{node} answers {line:?} with {said:?}")))
        }
    }
}
