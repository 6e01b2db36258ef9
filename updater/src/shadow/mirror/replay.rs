//! The same request, asked of a copy: one connection for each live one, a limit on everything that comes back.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use countersign_sandbox::Caller;

use super::super::http::{self, Found};
use super::talk::Said;
use crate::shadow::replies::Reply;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections that are kept open at once, for as many live ones.
const OPEN: usize = 64;

/// Why a copy gave no reply, by a name that is the same for the same trouble.
type Failure = &'static str;

/// A copy, asked in the place of the live node.
pub(super) struct Replay<C> {
    connect: C,
    open: BTreeMap<u64, TcpStream>,
}

/// How a copy is reached.
pub(super) trait Connect {
    fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

impl Connect for Caller {
    fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        Self::connect(self, address).map_err(io::Error::other)
    }
}

impl<C: Connect> Replay<C> {
    pub(super) fn new(connect: C) -> Self {
        Self { connect, open: BTreeMap::new() }
    }

    /// Asks what a live client asked, on the connection that stands for its own.
    pub(super) fn ask(&mut self, connection: u64, address: SocketAddr, said: &Said) -> Reply {
        let began = Instant::now();
        let answer = self.try_ask(connection, address, said);
        answer.unwrap_or_else(|why| Reply::failed(why, began.elapsed()))
    }

    fn try_ask(
        &mut self,
        connection: u64,
        address: SocketAddr,
        said: &Said,
    ) -> Result<Reply, Failure> {
        if let Some(stream) = self.open.remove(&connection) {
            match self.ask_on(connection, stream, said) {
                // It was closed between two requests, as any server may: the next one has a connection of its own.
                Err("closed") => {}
                answer => return answer,
            }
        }
        let stream = self.connect.connect(address).map_err(|_| "refused")?;
        self.ask_on(connection, stream, said)
    }

    fn ask_on(
        &mut self,
        connection: u64,
        mut stream: TcpStream,
        said: &Said,
    ) -> Result<Reply, Failure> {
        let (reply, is_last) = exchange(&mut stream, said)?;
        if !is_last && self.open.len() < OPEN {
            self.open.insert(connection, stream);
        }
        Ok(reply)
    }

    /// The live connection has ended.
    pub(super) fn end(&mut self, connection: u64) {
        self.open.remove(&connection);
    }
}

fn exchange(stream: &mut TcpStream, said: &Said) -> Result<(Reply, bool), Failure> {
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out",
        _ => "closed",
    };
    let began = Instant::now();
    let set = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    set.and_then(|()| stream.write_all(&said.request)).map_err(|error| failed(&error))?;
    let asked = Instant::now();
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let left = PATIENCE.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err("timed out");
        }
        stream.set_read_timeout(Some(left)).map_err(|error| failed(&error))?;
        let read = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|error| failed(&error))?,
        };
        bytes.extend_from_slice(&buffer[..read]);
        let took = asked.elapsed();
        match http::reply(&bytes, said.is_head) {
            Found::Whole(message) if message.status < 200 => {
                bytes.drain(..message.length);
            }
            Found::Whole(message) => {
                let is_last = message.is_last || bytes.len() > message.length;
                return Ok((Reply::parse(&bytes[..message.length], took), is_last));
            }
            Found::UntilEnd if read == 0 => return Ok((Reply::parse(&bytes, took), true)),
            Found::Other(why) => return Err(why.name()),
            _ if read == 0 => return Err("closed"),
            _ if bytes.len() > http::LONGEST => return Err("too long"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    struct Direct;

    impl Connect for Direct {
        fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
            TcpStream::connect(address)
        }
    }

    /// What comes of an answer that these bytes are, and then the end or nothing.
    fn answered(bytes: &'static [u8], end: bool) -> Reply {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut asked = [0; 4];
            peer.read_exact(&mut asked).unwrap();
            peer.write_all(bytes).unwrap();
            if !end {
                // Until the other side has gone.
                let _gone = peer.read(&mut asked);
            }
        });
        let mut replay = Replay::new(Direct);
        let reply = Reply::default();
        let said = Said { request: b"GET ".to_vec(), is_head: false, reply };
        let answer = replay.ask(1, address, &said);
        replay.end(1);
        peer.join().unwrap();
        answer
    }

    #[test]
    fn every_kind_of_silence_and_nonsense_is_a_failure_with_a_name() {
        let sized = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false);
        assert_eq!((sized.status, sized.body.as_slice()), (Some(200), b"ok".as_slice()));
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\n\r\nall", true).body, b"all");
        for (bytes, end, why) in [
            (b"".as_slice(), false, "timed out"),
            (b"", true, "closed"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", true, "closed"),
            (b"220 mail\r\n", true, "not HTTP/1"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", true, "too long"),
        ] {
            assert_eq!(answered(bytes, end).failure.as_deref(), Some(why));
        }
    }
}
