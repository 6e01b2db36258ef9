//! What a crash may not take.

use std::fs::{self, File};
use std::io::Write;

use crate::client::{Load, ask, get, put, stat};
use crate::harness::{NODE, Node, Port, Scratch, refused, until};

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        let node = Node::start(NODE, &scratch.state(), &port);
        let load = Load::start(port.address());
        until("300 writes", || load.written() >= 300);
        node.kill();
        // Writers that were cut off wait in the backlog until the next node answers them.
        let node = Node::start(NODE, &scratch.state(), &port);
        acknowledged.extend(load.stop().0);
        node.stop();
    }
    let node = Node::start(NODE, &scratch.state(), &port);
    for key in &acknowledged {
        assert_eq!(get(port.address(), key).as_ref(), Some(key));
    }
    assert!(acknowledged.len() >= 900);
    node.stop();
}

#[test]
fn the_counters_count_what_the_log_holds_after_a_crash() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    for i in 0..50 {
        put(port.address(), &format!("a.{i}"), "x");
        put(port.address(), "b.same", "x");
    }
    assert_eq!(ask(port.address(), "DELETE", "/kv/a.0", b"").unwrap().status, 200);
    node.kill();
    let node = Node::start(NODE, &scratch.state(), &port);
    let numbers = ["keys", "records", "a", "b"].map(|name| stat(port.address(), name));
    assert_eq!(numbers, [50, 101, 51, 50]);
    node.stop();
}

#[test]
fn an_unfinished_write_at_the_end_of_the_log_is_dropped() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    put(port.address(), "key", "value");
    node.kill();
    let log = scratch.state().join("values/log.2");
    let whole = fs::read(&log).unwrap();
    File::options().append(true).open(&log).unwrap().write_all(&whole[..whole.len() - 1]).unwrap();
    let node = Node::start(NODE, &scratch.state(), &port);
    assert_eq!(get(port.address(), "key").as_deref(), Some("value"));
    assert_eq!(fs::read(&log).unwrap(), whole);
    put(port.address(), "key", "newer");
    node.kill();
    let node = Node::start(NODE, &scratch.state(), &port);
    assert_eq!(get(port.address(), "key").as_deref(), Some("newer"));
    node.stop();
}

#[test]
fn damage_before_the_end_of_the_log_is_refused_and_changes_nothing() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    put(port.address(), "first", "value");
    put(port.address(), "second", "value");
    node.stop();
    let log = scratch.state().join("values/log.2");
    let mut bytes = fs::read(&log).unwrap();
    bytes[20] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let state = scratch.state();
    let words = ["serve", "--state", state.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    assert!(refused(NODE, 3, &words).contains("is damaged at byte 0"));
    assert_eq!(fs::read(&log).unwrap(), bytes);
}
