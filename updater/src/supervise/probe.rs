//! Asking a node whether it works: an HTTP request, or a connection that it accepts and keeps.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::process::breathe;

/// Where to reach a listening socket from this machine: "any address" is asked on loopback.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// `GET path`; healthy is an answer with status 200 before the deadline.
///
/// # Errors
/// Anything else, to a person.
pub fn http(address: SocketAddr, path: &str, time: Duration) -> Result<(), String> {
    let deadline = Instant::now() + time;
    let address = reachable(address);
    let told = |error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer within {time:?}"),
        _ => error.to_string(),
    };
    let mut stream = TcpStream::connect_timeout(&address, time).map_err(told)?;
    stream.set_write_timeout(Some(time)).map_err(told)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < 1024 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("no answer within {time:?}"));
        }
        stream.set_read_timeout(Some(left)).map_err(told)?;
        let mut buffer = [0; 256];
        match stream.read(&mut buffer).map_err(told)? {
            0 => break,
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default().to_owned();
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some(http), Some("200")) if http.starts_with("HTTP/1.") => Ok(()),
        _ if line.is_empty() => Err("the connection was closed without an answer".to_owned()),
        _ => Err(format!("GET {path} was answered {line:?}")),
    }
}

/// Connects; working is a process that accepts the connection and keeps it open.
///
/// The supervisor's socket takes a connection also while nobody accepts; `/proc/net/tcp` tells the two apart.
///
/// # Errors
/// Anything else, to a person.
pub fn connection(address: SocketAddr, time: Duration) -> Result<(), String> {
    let deadline = Instant::now() + time;
    let mut stream = TcpStream::connect_timeout(&reachable(address), time)
        .and_then(|stream| stream.set_nonblocking(true).map(|()| stream))
        .map_err(|error| error.to_string())?;
    let own = stream.local_addr().map_err(|error| error.to_string())?.port();
    while !accepted(address.port(), own) {
        if Instant::now() > deadline {
            return Err("nobody accepts connections".to_owned());
        }
        breathe();
    }
    // Kept for a moment: a process that closes what it accepts does not work.
    let kept = Instant::now() + Duration::from_millis(100);
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return Err("the connection was accepted and closed".to_owned()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        if Instant::now() > kept {
            return Ok(());
        }
        breathe();
    }
}

/// Whether the server's side of a connection was accepted: until then it belongs to no file (inode 0).
fn accepted(server: u16, client: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let text = fs::read_to_string(table).unwrap_or_default();
        text.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = |field: Option<&&str>| {
                field.and_then(|f| u16::from_str_radix(f.rsplit_once(':')?.1, 16).ok())
            };
            port(fields.get(1)) == Some(server)
                && port(fields.get(2)) == Some(client)
                && fields.get(9).is_some_and(|inode| *inode != "0")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn server(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _asked = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn only_status_200_is_healthy() {
        let long = Duration::from_secs(30);
        assert_eq!(http(server(b"HTTP/1.1 200 OK\r\n\r\n"), "/", long), Ok(()));
        assert!(http(server(b"HTTP/1.1 503 No\r\n\r\n"), "/", long).unwrap_err().contains("503"));
        assert!(http(server(b""), "/", long).unwrap_err().contains("without an answer"));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = http(nobody.local_addr().unwrap(), "/", Duration::from_millis(50));
        assert!(silent.unwrap_err().contains("no answer within"));
    }

    #[test]
    fn a_connection_that_only_queues_is_not_readiness() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap();
        let queued = connection(address, Duration::from_millis(50));
        assert_eq!(queued, Err("nobody accepts connections".to_owned()));
        let accepting = thread::spawn(move || {
            let _first = listener.accept().unwrap();
            let second = listener.accept().unwrap();
            (second, listener)
        });
        assert_eq!(connection(address, Duration::from_secs(30)), Ok(()));
        drop(accepting.join().unwrap());
    }
}
