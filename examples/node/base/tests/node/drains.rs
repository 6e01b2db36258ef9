//! Stopping: what has begun is finished, what has not waits for the next version.

use crate::client::{Client, Load, get, put};
use crate::harness::{NODE, Node, Port, Scratch, until};

#[test]
fn no_request_fails_while_one_node_follows_another_behind_the_same_socket() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let mut node = Node::start(NODE, &scratch.state(), &port);
    let load = Load::start(port.address());
    for swap in 1..=3 {
        until("writes", || load.written() >= swap * 200);
        node.stop();
        node = Node::start(NODE, &scratch.state(), &port);
    }
    until("writes after the last swap", || load.written() >= 800);
    let (acknowledged, failed) = load.stop();
    assert!(failed.is_empty(), "{failed:?}");
    for key in &acknowledged {
        assert_eq!(get(port.address(), key).as_ref(), Some(key));
    }
    node.stop();
}

#[test]
fn a_kept_connection_is_answered_once_more_while_the_node_stops_and_told_that_it_was_the_last() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    let mut kept = Client::connect(port.address()).unwrap();
    assert!(!kept.ask("PUT", "/kv/a", b"1").unwrap().last);
    node.term();
    // The signal may arrive after some of these.
    loop {
        let answer = kept.ask("PUT", "/kv/b", b"2").unwrap();
        assert_eq!(answer.status, 200);
        if answer.last {
            break;
        }
    }
    assert!(node.wait().success());
    let node = Node::start(NODE, &scratch.state(), &port);
    assert_eq!(get(port.address(), "b").as_deref(), Some("2"));
    node.stop();
}

#[test]
fn an_idle_connection_does_not_keep_the_node_from_stopping() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let mut node = Node::start(NODE, &scratch.state(), &port);
    let mut idle = Client::connect(port.address()).unwrap();
    assert_eq!(idle.ask("PUT", "/kv/a", b"1").unwrap().status, 200);
    node.term();
    until("the node stops", || node.has_exited());
    assert!(node.wait().success());
}

#[test]
fn a_connection_that_nobody_accepted_is_served_by_the_next_node() {
    let (scratch, port) = (Scratch::new(), Port::open());
    Node::start(NODE, &scratch.state(), &port).stop();
    let waiting = std::thread::spawn({
        let mut client = Client::connect(port.address()).unwrap();
        move || client.ask("PUT", "/kv/a", b"1").unwrap().status
    });
    let node = Node::start(NODE, &scratch.state(), &port);
    assert_eq!(waiting.join().unwrap(), 200);
    put(port.address(), "b", "2");
    node.stop();
}
