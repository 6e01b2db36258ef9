//! A bucket as the store: `moto_server`, started and stopped by the test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::node::{Node, PASSWORD, nothing_readable, restic};

struct Server {
    child: Option<Child>,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    /// An address where a server will listen.
    fn planned() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { child: None, address, dir: tempfile::tempdir().unwrap() }
    }

    fn lines(&self) -> String {
        format!("to = \"s3://backups/one/node\"\nendpoint = \"http://{}\"\n", self.address)
    }

    fn start(&mut self) {
        let program = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "moto_server".to_owned());
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &self.address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.path().join("log")).unwrap())
            .spawn();
        let missing = |error| {
            format!(
                "this test needs an object store, and {program} cannot be run ({error}): .ci/install \
                 installs it, or set MOTO_SERVER to the path of moto's moto_server"
            )
        };
        self.child = Some(child.map_err(missing).unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "moto_server does not listen");
            std::thread::yield_now();
        }
        assert_eq!(self.ask("PUT", "/backups").0, 200);
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        let head = format!("{head}Authorization: AWS reader:x\r\nContent-Length: 0\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[head + 4..].to_vec())
    }

    fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let (status, listing) = self.ask("GET", "/backups?list-type=2");
        assert_eq!(status, 200);
        let listing = String::from_utf8(listing).unwrap();
        let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        let keys: Vec<_> = keys.map(|(key, _)| key.to_owned()).collect();
        keys.into_iter()
            .map(|key| {
                let (status, bytes) = self.ask("GET", &format!("/backups/{key}"));
                assert_eq!(status, 200, "{key}");
                (key, bytes)
            })
            .collect()
    }

    fn restic(&self, words: &[&str]) -> String {
        let repository = format!("s3:http://{}/backups/one/node", self.address);
        restic(&repository, PASSWORD, words)
    }
}

#[test]
fn a_bucket_holds_nothing_readable_has_one_writer_and_opens_with_stock_restic() {
    let mut server = Server::planned();
    server.start();
    let (node, second) = (Node::new(&server.lines()), Node::new(&server.lines()));
    for node in [&node, &second] {
        node.fill();
        node.random("noise", 2);
        node.snapshot(1);
    }
    let made = node.good(&["init"]);
    assert_eq!(made["atomic-marker"], true);
    node.good(&["now"]);
    assert_eq!(node.waiting(), 0);
    let objects = server.objects();
    nothing_readable(objects.iter().map(|(name, bytes)| (name.clone(), &bytes[..])));
    let run = second.run(&["now"]);
    assert_eq!((run.code, second.waiting()), (1, 1), "{}", run.json);
    assert_eq!(server.objects(), objects, "who is refused writes nothing");

    server.restic(&["check", "--read-data"]);
    let to = node.dir.path().join("restored");
    server.restic(&["restore", "latest", "--target", to.to_str().unwrap()]);
    let ours = crate::node::files(&node.home.snapshot(1).join("tree"));
    assert_eq!(crate::node::files(&to.join("tree")), ours);

    second.good(&["takeover"]);
    second.good(&["now"]);
    node.snapshot(2);
    let run = node.run(&["now"]);
    assert_eq!(run.code, 1, "{}", run.json);
    node.good(&["check", "--read-data"]);
}

#[test]
fn while_the_bucket_is_down_the_queue_is_true_and_one_that_lost_everything_is_filled_again() {
    let mut server = Server::planned();
    let node = Node::new(&server.lines());
    node.fill();
    node.snapshot(1);
    let run = node.run(&["now"]);
    assert_eq!((run.code, node.waiting()), (5, 1), "{}", run.json);
    assert!(run.error().contains("cannot read"), "{}", run.error());
    server.start();
    let run = node.run(&["now"]);
    assert_eq!((run.code, node.waiting()), (1, 1), "no repository, so no marker: {}", run.json);
    node.good(&["init"]);
    node.good(&["now"]);
    assert_eq!(node.waiting(), 0);

    server.stop();
    for number in 2..=3 {
        node.snapshot(number);
        let run = node.run(&["now"]);
        assert_eq!(run.code, 5, "{}", run.json);
        assert_eq!(node.waiting() as u64, number - 1);
    }
    // This server forgets everything when it ends: nobody begins anew but a person.
    server.start();
    assert_ne!(node.run(&["now"]).code, 0);
    assert_eq!(node.waiting(), 2);
    node.good(&["init"]);
    let run = node.good(&["now"]);
    assert_eq!((&run["lost"], run["brought"].as_array().unwrap().len()), (&json!(1), 3));
    assert_eq!(node.waiting(), 0);
    server.restic(&["check", "--read-data"]);
}
