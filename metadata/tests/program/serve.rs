//! The static server: ranges, one sentence for a port in use, and an end by TERM.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::site::{PROGRAM, Site};

struct Server {
    child: Child,
    address: String,
    _stdout: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn serve(site: &Site) -> Server {
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--repo", "REPO", "--listen", "127.0.0.1:0"])
        .current_dir(site.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.trim().rsplit_once("http://").unwrap().1.to_owned();
    Server { child, address, _stdout: stdout }
}

fn get(address: &str, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn files_and_ranges_are_served_and_nothing_above_them() {
    let site = Site::published();
    let server = serve(&site);
    let whole = get(&server.address, "/metadata/timestamp.json", "");
    assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("\"timestamp\""));
    let part = get(&server.address, "/metadata/timestamp.json", "Range: bytes=0-12\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("{\"signatures\""), "{part}");
    assert!(get(&server.address, "/metadata/2.root.json", "").starts_with("HTTP/1.1 404"));
    let above = get(&server.address, "/../drafts/0001-init/root.request.json", "");
    assert!(above.starts_with("HTTP/1.1 404"), "{above}");
}

#[test]
fn a_port_in_use_is_told_in_one_sentence() {
    let site = Site::published();
    let server = serve(&site);
    let run = site.run(&["serve", "--repo", "REPO", "--listen", &server.address]);
    assert_eq!(run.code, 7);
    assert!(run.json["error"].as_str().unwrap().contains("cannot listen on 127.0.0.1"));
    assert!(run.json["hint"].as_str().unwrap().contains("--listen"));
}

#[test]
fn term_ends_it() {
    let site = Site::published();
    let mut server = serve(&site);
    let id = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}
