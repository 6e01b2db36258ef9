//! Questions to a small server that changes its answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use countersign_metadata::{NodeSpec, Sha256};

use super::*;
use crate::durable::append_to;
use crate::generation::Launch;

/// Answers every request with `{"chain":{"height":"N"}}`; below zero, with 503.
fn server(height: &Arc<AtomicI64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let height = Arc::clone(height);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _asked = stream.read(&mut [0; 1024]);
            let height = height.load(Ordering::SeqCst);
            let status = if height < 0 { "503 No" } else { "200 OK" };
            let body = format!("{{\"chain\":{{\"height\":\"{height}\"}}}}");
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _gone = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

struct Site {
    _dir: tempfile::TempDir,
    home: Home,
    generation: Generation,
    height: Arc<AtomicI64>,
}

impl Site {
    fn new(node: serde_json::Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        std::fs::create_dir(home.state(1)).unwrap();
        let height = Arc::new(AtomicI64::new(1));
        let address = server(&height);
        let mut spec = serde_json::json!({ "command": ["bin/n"], "listen": { "http": address } });
        spec.as_object_mut().unwrap().extend(node.as_object().unwrap().clone());
        let spec: NodeSpec = serde_json::from_value(spec).unwrap();
        spec.check().unwrap();
        let generation = Generation {
            number: 1,
            product: "p".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            binary: Sha256::of(b"tar"),
            state: 1,
            areas: BTreeMap::new(),
            held: BTreeMap::new(),
            protocol: None,
            launch: Launch::new(&spec, &BTreeMap::new()),
        };
        Self { _dir: dir, home, generation, height }
    }

    fn ask(&self, watch: &mut Watch) -> Health {
        watch.ask(&self.home, &self.generation, &BTreeMap::new(), 0)
    }
}

fn reason(health: &Health) -> (&'static str, String) {
    match health {
        Health::Good => ("good", String::new()),
        Health::Pending { reason } => ("pending", reason.clone()),
        Health::Bad { lasting, reason } if *lasting == OVERDUE => ("overdue", reason.clone()),
        Health::Bad { reason, .. } => ("bad", reason.clone()),
        Health::Unasked => ("unasked", String::new()),
    }
}

fn within(seconds: u32) -> serde_json::Value {
    serde_json::json!({ "checks": { "height": {
        "kind": "height", "within": seconds,
        "from": { "listen": "http", "path": "/", "pointer": "/chain/height" } } } })
}

#[test]
fn a_height_is_good_only_once_it_has_grown_and_bad_once_it_stands_still() {
    let site = Site::new(within(3600));
    let mut watch = Watch::default();
    assert_eq!(reason(&site.ask(&mut watch)).0, "pending", "once is no growth");
    assert_eq!(reason(&site.ask(&mut watch)).0, "pending");
    site.height.store(2, Ordering::SeqCst);
    assert_eq!(site.ask(&mut watch), Health::Good);
    assert_eq!(site.ask(&mut watch), Health::Good, "it grew a moment ago");
    site.height.store(1, Ordering::SeqCst);
    assert_eq!(site.ask(&mut watch), Health::Good, "lower is no growth and no fall");

    let site = Site::new(within(1));
    let mut watch = Watch::default();
    let mut last = site.ask(&mut watch);
    while reason(&last).0 == "pending" {
        last = site.ask(&mut watch);
    }
    let (kind, told) = reason(&last);
    assert_eq!(kind, "overdue");
    assert!(told.starts_with("height: it did not grow within 1s: it stays at 1"), "{told}");
    site.height.store(-1, Ordering::SeqCst);
    assert!(reason(&site.ask(&mut watch)).1.contains("503"));
}

#[test]
fn a_line_counts_from_the_start_of_the_node_on_and_is_remembered() {
    let site = Site::new(serde_json::json!({ "checks": {
        "joined": { "kind": "log", "line": "joined with [0-9]+ peers", "within": 3600 } } }));
    let mut log = append_to(&site.home.node_log()).unwrap();
    log.write_all(b"joined with 9 peers\n").unwrap();
    let from = std::fs::metadata(site.home.node_log()).unwrap().len();
    let mut watch = Watch::default();
    let ask = |watch: &mut Watch| watch.ask(&site.home, &site.generation, &BTreeMap::new(), from);
    assert_eq!(reason(&ask(&mut watch)).0, "pending", "the version before said that");
    log.write_all(b"joined with 3 peers\n").unwrap();
    assert_eq!(ask(&mut watch), Health::Good);
    assert_eq!(ask(&mut watch), Health::Good);
    // An agent that begins anew finds the line again, also after the log was rotated.
    assert_eq!(ask(&mut Watch::default()), Health::Good);
    std::fs::copy(site.home.node_log(), site.home.node_log().with_extension("log.1")).unwrap();
    log.set_len(0).unwrap();
    assert_eq!(ask(&mut Watch::default()), Health::Good);
}

#[test]
fn commands_of_release_and_operator_and_health_are_asked_and_the_worst_is_told() {
    let site = Site::new(serde_json::json!({
        "health": { "listen": "http", "path": "/health" },
        "checks": { "store": { "kind": "command", "command": ["bin/fsck", "{state}"] },
                    "open": { "kind": "tcp", "listen": "http" } },
    }));
    let bin = site.generation.tree(&site.home).join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/ls", bin.join("fsck")).unwrap();
    assert_eq!(site.ask(&mut Watch::default()), Health::Good);
    std::fs::remove_file(bin.join("fsck")).unwrap();
    std::os::unix::fs::symlink("/bin/false", bin.join("fsck")).unwrap();
    assert!(reason(&site.ask(&mut Watch::default())).1.starts_with("store: "));
    std::fs::remove_file(bin.join("fsck")).unwrap();
    std::os::unix::fs::symlink("/bin/true", bin.join("fsck")).unwrap();

    let operators = |command: &[&str]| {
        let height = serde_json::json!({ "kind": "height", "within": 3600,
            "from": { "command": command } });
        let open = serde_json::json!({ "kind": "command", "command": ["/bin/true"] });
        BTreeMap::from([
            ("blocks".to_owned(), serde_json::from_value(height).unwrap()),
            ("open".to_owned(), serde_json::from_value(open).unwrap()),
        ])
    };
    let count = operators(&["/bin/sh", "-c", "echo >> {state}/n; wc -l < {state}/n"]);
    let mut watch = Watch::default();
    let mut ask = || watch.ask(&site.home, &site.generation, &count, 0);
    assert_eq!(reason(&ask()).0, "pending");
    assert_eq!(ask(), Health::Good, "the operator's check takes the name of the release's");
    let words = operators(&["/bin/echo", "much"]);
    let told = Watch::default().ask(&site.home, &site.generation, &words, 0);
    assert_eq!(reason(&told), ("pending", "blocks: \"much\" is no whole number".to_owned()));
    site.height.store(-1, Ordering::SeqCst);
    let told = watch.ask(&site.home, &site.generation, &count, 0);
    assert!(reason(&told).1.contains("health: GET /health was answered with status 503"));
}
