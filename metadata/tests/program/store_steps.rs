//! The publisher dies at each step of its way to an object store, and two publishers meet there.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_metadata::{Sha256, layout};

use crate::site::Site;
use crate::store::{BUCKET, Server};

/// Stands between publisher and store and passes requests on, one a connection.
struct Gate {
    address: String,
    reached: Receiver<()>,
    go: Sender<()>,
}

/// At which request (by its first line) the gate says so and waits, once.
type At = Box<dyn FnMut(&str) -> bool + Send>;

impl Gate {
    fn start(server: &Server, at: At) -> Self {
        Self::bent(server, at, |head| head)
    }

    /// `bend` changes the head of every request.
    fn bent(server: &Server, at: At, bend: fn(String) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (say, reached) = channel();
        let (go, wait) = channel();
        let shared = Arc::new((Mutex::new(at), say, Mutex::new(wait)));
        let store = server.address.clone();
        std::thread::spawn(move || {
            for publisher in listener.incoming() {
                let (shared, store) = (Arc::clone(&shared), store.clone());
                std::thread::spawn(move || {
                    let mut publisher = publisher.unwrap();
                    let Some((head, body)) = request(&mut publisher) else { return };
                    let (at, say, wait) = &*shared;
                    if (at.lock().unwrap())(head.lines().next().unwrap()) {
                        say.send(()).unwrap();
                        // Whoever is to die here is dead when nobody says go.
                        if wait.lock().unwrap().recv().is_err() {
                            return;
                        }
                    }
                    let head = bend(head).replacen("\r\n", "\r\nConnection: close\r\n", 1);
                    let mut to = TcpStream::connect(store).unwrap();
                    to.write_all(&[head.as_bytes(), &body].concat()).unwrap();
                    let mut answer = Vec::new();
                    to.read_to_end(&mut answer).unwrap();
                    let _dead_already = publisher.write_all(&answer);
                    let _dead_already = publisher.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, reached, go }
    }

    /// Whether the gate was reached before the publisher ended.
    fn reached(&self, publisher: &mut Child) -> bool {
        loop {
            match self.reached.recv_timeout(Duration::from_millis(5)) {
                Ok(()) => return true,
                Err(RecvTimeoutError::Timeout) if publisher.try_wait().unwrap().is_none() => {}
                Err(_) => return false,
            }
        }
    }
}

/// A whole request: its head with the empty line, and its body.
fn request(from: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let end = loop {
        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => read.extend(&buffer[..n]),
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let mut body = read[end..].to_vec();
    while body.len() < length.unwrap_or(0) {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => body.extend(&buffer[..n]),
        }
    }
    Some((head, body))
}

/// The `n`-th request that changes something, from 0.
fn change(n: usize) -> At {
    let mut seen = 0;
    Box::new(move |line| {
        let changes = line.starts_with("PUT ") || line.starts_with("POST ");
        seen += usize::from(changes);
        changes && seen == n + 1
    })
}

/// When this file is put.
fn the_put_of(name: &'static str) -> At {
    Box::new(move |line| line.starts_with("PUT ") && line.contains(name))
}

fn start(server: &Server, site: &Site, arguments: &[&str], prefix: &str, gate: &Gate) -> Child {
    let mut command = server.command(site, arguments, prefix, &gate.address);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_publisher_killed_at_each_step_leaves_the_store_whole_and_is_finished_by_the_next() {
    /// More than there are.
    const STEPS: usize = 24;
    let site = Site::published();
    let server = Server::start(&site);
    let publish = |draft: &str, prefix: &str| {
        server.run_at(&site, &["publish", "--repo", "REPO", draft], prefix, &server.address)
    };
    for step in 0..STEPS {
        assert_eq!(publish("1", &step.to_string()).code, 0);
    }
    site.release("1.0.0", &[1, 2]);
    // Something that goes in parts.
    let long: Vec<u8> = (0..6_u32 << 20).map(|n| (n % 251) as u8).collect();
    let path = layout::input(&Sha256::of(&long));
    fs::write(site.path("REPO/public").join(&path), &long).unwrap();
    let arguments = ["publish", "--repo", "REPO", "2", "--part-size", "5MiB"];
    let mut killed = 0;
    for step in 0..STEPS {
        let prefix = step.to_string();
        let gate = Gate::start(&server, change(step));
        let mut publisher = start(&server, &site, &arguments, &prefix, &gate);
        if !gate.reached(&mut publisher) {
            assert_eq!(publisher.wait().unwrap().code(), Some(0));
            assert_eq!(server.client_at(&site, &prefix), 1);
            break;
        }
        publisher.kill().unwrap();
        publisher.wait().unwrap();
        killed += 1;
        assert_eq!(server.client_at(&site, &prefix), 0, "step {step}: as before");
        let long_one = || server.request("GET", &format!("{BUCKET}/{prefix}/{path}"));
        let (status, bytes) = long_one();
        assert!(status == 404 || bytes == long, "step {step}: whole or not at all");
        let run = server.run_at(&site, &arguments, &prefix, &server.address);
        assert_eq!(run.code, 0, "step {step}: {}", run.json);
        assert_eq!(server.client_at(&site, &prefix), 1);
        assert!(long_one().1 == long);
    }
    assert!((12..STEPS).contains(&killed), "{killed}");
}

/// A desk whose directory another manager has copied to `REPO2`; both know the same store.
fn two_desks() -> (Site, Server) {
    let site = Site::published();
    let server = Server::start(&site);
    let run = server.run_at(&site, &["publish", "--repo", "REPO", "1"], "tree", &server.address);
    assert_eq!(run.code, 0, "{}", run.json);
    copy(&site.path("REPO"), &site.path("REPO2"));
    (site, server)
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A release drafted, signed and published at a desk, and not in the store.
fn released(site: &Site, repo: &str, version: &str) {
    site.build(version, version);
    let run = site.run(&["draft", "--repo", repo, "--release", version]);
    let draft = run.json["draft"].as_str().unwrap().to_owned();
    let request = site.path(repo).join("drafts").join(draft).join("demo.request.json");
    for seed in [1, 2] {
        let file = site.answer(&request, seed, |_| {});
        assert_eq!(site.run(&["merge", "--repo", repo, &file]).code, 0);
    }
    let run = site.run(&["publish", "--repo", repo, "--signer", &Site::signer(9)]);
    assert_eq!(run.code, 0, "{}", run.json);
}

#[test]
fn of_two_publishers_at_once_the_second_to_the_timestamp_is_told_and_changes_nothing() {
    let (site, server) = two_desks();
    let signer = Site::signer(9);
    let gate = Gate::start(&server, the_put_of("/timestamp.json"));
    let mut slow =
        start(&server, &site, &["refresh", "--repo", "REPO", "--signer", &signer], "tree", &gate);
    assert!(gate.reached(&mut slow));
    let fast = ["refresh", "--repo", "REPO2", "--signer", &signer, "--timestamp-expires", "8d"];
    let run = server.run_at(&site, &fast, "tree", &server.address);
    assert_eq!((run.code, &run.json["guarded"]), (0, &true.into()), "{}", run.json);
    gate.go.send(()).unwrap();
    assert_eq!(slow.wait().unwrap().code(), Some(8));
    let (_, bytes) = server.request("GET", &format!("{BUCKET}/tree/metadata/timestamp.json"));
    assert_eq!(bytes, fs::read(site.path("REPO2/public/metadata/timestamp.json")).unwrap());
    assert_eq!(server.client_at(&site, "tree"), 0);
}

#[test]
fn of_two_publishers_at_once_the_second_overwrites_no_version_of_the_first() {
    let (site, server) = two_desks();
    released(&site, "REPO", "1.0.0");
    released(&site, "REPO2", "2.0.0");
    // Both have a version 2 of everything. One is about to put its first file, and the other is faster.
    let gate = Gate::start(&server, the_put_of("/2.snapshot.json"));
    let mut slow = start(&server, &site, &["publish", "--repo", "REPO", "2"], "tree", &gate);
    assert!(gate.reached(&mut slow));
    let fast = ["publish", "--repo", "REPO2", "2"];
    let run = server.run_at(&site, &fast, "tree", &server.address);
    assert_eq!(run.code, 0, "{}", run.json);
    gate.go.send(()).unwrap();
    assert_eq!(slow.wait().unwrap().code(), Some(8));
    assert_eq!(server.client_at(&site, "tree"), 1, "the first one's release, whole");
}

#[test]
fn what_a_dead_publisher_left_is_taken_over_by_name_only() {
    let (site, server) = two_desks();
    released(&site, "REPO", "1.0.0");
    released(&site, "REPO2", "2.0.0");
    let gate = Gate::start(&server, the_put_of("/timestamp.json"));
    let mut dead = start(&server, &site, &["publish", "--repo", "REPO", "2"], "tree", &gate);
    assert!(gate.reached(&mut dead));
    dead.kill().unwrap();
    dead.wait().unwrap();
    let publish = ["publish", "--repo", "REPO2", "2"];
    let run = server.run_at(&site, &publish, "tree", &server.address);
    assert!(matches!(run.code, 6 | 8), "not ours: {}", run.json);
    assert_eq!(server.client_at(&site, "tree"), 0);
    let by_name = [&publish[..], &["--take-over"]].concat();
    let run = server.run_at(&site, &by_name, "tree", &server.address);
    assert_eq!(run.code, 0, "{}", run.json);
    assert_eq!(server.client_at(&site, "tree"), 1);
}

#[test]
fn a_store_without_conditional_writes_is_named() {
    let site = Site::published();
    let server = Server::start(&site);
    let without = |head: String| {
        let keep = |line: &&str| !line.to_ascii_lowercase().starts_with("if-");
        head.split_inclusive("\r\n").filter(keep).collect::<String>()
    };
    let gate = Gate::bent(&server, Box::new(|_| false), without);
    let run = server.run_at(&site, &["publish", "--repo", "REPO", "1"], "tree", &gate.address);
    assert_eq!((run.code, &run.json["guarded"]), (0, &false.into()), "{}", run.json);
    assert_eq!(server.client_at(&site, "tree"), 0);
}
