//! A client without retries: one connection a request, or one for many while the node keeps it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// An answer: status, head, body, and whether the node closes the connection.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) last: bool,
}

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let value = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let mut body = vec![0; value("Content-Length:").unwrap().parse().unwrap()];
        self.0.read_exact(&mut body)?;
        let status = head[9..12].parse().unwrap();
        let last = value("Connection:").unwrap() == "close";
        Ok(Answer { status, head, body, last })
    }
}

/// One request on its own connection.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> io::Result<Answer> {
    Client::connect(address)?.ask(method, path, body)
}

pub(crate) fn put(address: SocketAddr, key: &str, value: &str) {
    assert_eq!(ask(address, "PUT", &format!("/kv/{key}"), value.as_bytes()).unwrap().status, 200);
}

pub(crate) fn get(address: SocketAddr, key: &str) -> Option<String> {
    let answer = ask(address, "GET", &format!("/kv/{key}"), b"").unwrap();
    (answer.status == 200).then(|| String::from_utf8(answer.body).unwrap())
}

/// A number in the flat parts of `/stats`.
pub(crate) fn stat(address: SocketAddr, name: &str) -> u64 {
    let text = String::from_utf8(ask(address, "GET", "/stats", b"").unwrap().body).unwrap();
    let after = text.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{text}")).1;
    after.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Threads that write without pause: half of them with a connection for each request, half keeping theirs.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..6)
            .map(|thread| {
                let (stop, written, acknowledged) =
                    (stop.clone(), written.clone(), acknowledged.clone());
                std::thread::spawn(move || {
                    let mut kept: Option<Client> = None;
                    for number in 0.. {
                        if stop.load(Ordering::Acquire) {
                            break;
                        }
                        let key = format!("load.{thread}.{number}");
                        let mut client = match kept.take() {
                            Some(client) => client,
                            None => Client::connect(address)?,
                        };
                        let answer = client.ask("PUT", &format!("/kv/{key}"), key.as_bytes())?;
                        if answer.status != 200 {
                            return Err(io::Error::other(answer.status.to_string()));
                        }
                        acknowledged.lock().unwrap().push(key);
                        written.fetch_add(1, Ordering::AcqRel);
                        kept = (thread % 2 == 0 && !answer.last).then_some(client);
                    }
                    Ok(())
                })
            })
            .collect();
        Self { stop, written, acknowledged, threads }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// What has been acknowledged so far.
    pub(crate) fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Ends it: the acknowledged keys, whose values equal them, and what failed.
    pub(crate) fn stop(self) -> (Vec<String>, Vec<io::Error>) {
        self.stop.store(true, Ordering::Release);
        let failed =
            self.threads.into_iter().filter_map(|thread| thread.join().unwrap().err()).collect();
        (Arc::try_unwrap(self.acknowledged).unwrap().into_inner().unwrap(), failed)
    }
}
