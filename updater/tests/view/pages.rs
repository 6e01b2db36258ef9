//! The agent's pages while it works, and what a peer makes of them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::clients::until;
use crate::node::Node;
use crate::process::{Running, free, get, json, page, run};

#[test]
fn the_agents_pages_follow_an_update_and_a_peer_knows_the_release_again() {
    let address = free();
    let mut node =
        Node::with(&format!("delay = \"0s..300ms\"\n[status]\nlisten = \"{address}\"\n"));
    let home = node.home.path().to_str().unwrap().to_owned();
    let url = format!("http://{address}");
    let mut supervisor = node.supervise();
    let agent = Running::start(&["run", "--poll", "50ms", &home]);
    until(|| get(address, "/health", "").is_some_and(|(status, ..)| status == 200));

    let version: Value = serde_json::from_str(&page(address, "/node/version")).unwrap();
    let digest = node.current().binary.to_string();
    assert_eq!((&version["version"], &version["digest"]), (&json!("1.0.0"), &json!(digest)));
    let path = version["path"].as_str().unwrap();
    assert!(path.starts_with("example/1.0.0/example-1.0.0-linux-"), "{path}");
    let shown: Value = serde_json::from_str(&page(address, "/status")).unwrap();
    let printed = json(&run(&["status", &home, "--json"]));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&shown), keys(&printed));
    assert_eq!(shown["running"], printed["running"]);

    let metrics = page(address, "/metrics");
    for line in [
        "countersign_node_info{product=\"example\",version=\"1.0.0\",digest=\"",
        "countersign_supervisor_up 1.0",
        "countersign_node_ready 1.0",
        "countersign_node_crashes 0.0",
        "countersign_downloaded_bytes_total 0",
        "countersign_metadata_expiry_seconds{role=\"timestamp\"} ",
        "countersign_metadata_expiry_seconds{role=\"example\"} ",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("backup_queue_length"));
    std::fs::write(node.home.path().join("backup.json"), r#"{"format":1,"waiting":[{},{}]}"#)
        .unwrap();

    node.publish("2.0.0", 2, "");
    until(|| {
        page(address, "/metrics").contains("countersign_updater_state{state=\"Committed\"} 1.0")
    });
    let metrics = page(address, "/metrics");
    assert!(metrics.contains("countersign_refresh_ok 1.0\n"), "{metrics}");
    assert!(metrics.contains("countersign_shadow_verdicts_total{verdict=\"cleared\"} 1\n"));
    assert!(metrics.contains("countersign_node_info{product=\"example\",version=\"2.0.0\""));
    assert!(metrics.contains("countersign_backup_queue_length 2.0\n"), "{metrics}");
    let bytes = metrics.lines().find(|l| l.starts_with("countersign_downloaded_bytes_total "));
    assert_ne!(bytes.unwrap(), "countersign_downloaded_bytes_total 0");

    // A peer, here the node itself, by its own verified metadata.
    let peer = |url: &str| run(&["check-peer", url, "--node", &home, "--json"]);
    let asked = peer(&url);
    assert_eq!(asked.status.code(), Some(0));
    assert_eq!(json(&asked)["standing"], "registered");
    let said = |answer: &'static str| peer(&claims(answer)).status.code();
    assert_eq!(said(r#"{"product":"example","version":"2.0.0"}"#), Some(1));
    assert_eq!(said("hello"), Some(6));
    assert_eq!(said("{\"product\":\"../\",\"version\":\"2.0.0\"}"), Some(6));
    drop(agent);
    assert_eq!(peer(&url).status.code(), Some(5), "nobody answers any more");
    supervisor.terminate();
}

/// The address of a peer that says this, once.
fn claims(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.is_empty()));
        let length = answer.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}").unwrap();
    });
    url
}

#[test]
fn an_address_that_is_taken_keeps_no_agent_from_its_work() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let node = Node::with(&format!("[status]\nlisten = \"{address}\"\n"));
    let mut agent = Running::start(&["run", "--poll", "50ms", node.home.path().to_str().unwrap()]);
    let first = agent.said.next().unwrap().unwrap();
    assert!(first.starts_with("no status page: cannot listen on"), "{first}");
    assert!(agent.said.next().unwrap().is_ok(), "it goes on");
}
