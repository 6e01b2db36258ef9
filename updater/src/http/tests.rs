//! The server as strangers meet it: over real connections.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

fn server(limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let handler = |request: &Request| match request.path.as_str() {
        "/ten" => Answer::of("text/plain", Body::Bytes(b"0123456789".to_vec())),
        "/file" => {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![b'x'; 1 << 20]).unwrap();
            Answer::of("application/octet-stream", Body::File(file, 1 << 20))
        }
        _ => Answer::not_found(),
    };
    serve(listener, limits, Arc::new(handler)).unwrap()
}

/// Sends these bytes and reads to the end of the answer. Whoever is turned away may be hung up on first.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = Vec::new();
    let _hung_up =
        stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_page_is_given_whole_or_in_part() {
    let address = server(Limits::default());
    let get = |more: &str| ask(address, &format!("GET /ten?x HTTP/1.1\r\n{more}\r\n"));
    let whole = get("");
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.ends_with("\r\n\r\n0123456789"));
    for (range, part, told) in [
        ("bytes=3-", "3456789", "bytes 3-9/10"),
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
    ] {
        let answer = get(&format!("Range: {range}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 206 ") && answer.contains(told), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{part}")), "{answer}");
    }
    assert!(get("Range: bytes=10-\r\n").contains("416 Range Not Satisfiable"));
    for odd in
        ["bytes=1-2,4-5", "bytes=5-2", "lines=1-", "bytes=+1-2", "bytes=99999999999999999999-"]
    {
        assert!(get(&format!("Range: {odd}\r\n")).ends_with("0123456789"), "{odd}");
    }
    let head = ask(address, "HEAD /ten HTTP/1.0\r\n\r\n");
    assert!(head.contains("Content-Length: 10\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let file = ask(address, "GET /file HTTP/1.1\r\nRange: bytes=1048570-\r\n\r\n");
    assert!(file.ends_with("\r\n\r\nxxxxxx"), "{file}");
    assert!(ask(address, "GET /nothing HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
}

#[test]
fn what_is_too_much_or_no_reading_is_refused() {
    let address = server(Limits::default());
    for (request, wanted) in [
        ("POST /ten HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_owned(), "405"),
        ("hello\r\n\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(9 << 10)), "431"),
        (format!("GET /ten HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)), "431"),
        ("GET http://other/ten HTTP/1.1\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = ask(address, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted} ")), "{answer}");
    }
}

#[test]
fn whoever_is_slow_or_one_too_many_holds_nobody_up() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let address = server(limits);
    let slow: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Both are served by the time that a third one is turned away.
    let turned_away = |answer: &str| answer.starts_with("HTTP/1.1 503 ");
    assert!(turned_away(&ask(address, "")));
    drop(slow);
    while !ask(address, "GET /ten HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 ") {}

    let limits = Limits { head_time: Duration::from_millis(50), ..Limits::default() };
    let answer = ask(server(limits), "GET /ten HTT");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}
