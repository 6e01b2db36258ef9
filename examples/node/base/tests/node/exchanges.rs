//! How nodes talk among themselves.

use std::process::Command;

use crate::client::ask;
use crate::harness::{NODE, Node, Port, Scratch, refused};

#[test]
fn a_value_is_given_to_the_peer_and_what_it_answers_to_the_own_node() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let (port, other_port) = (Port::open(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    let peer = Node::start(NODE, &other.state(), &other_port);
    let (own, theirs) = (port.address().to_string(), other_port.address().to_string());
    let output =
        Command::new(NODE).args(["exchange", "--own", &own, "--peer", &theirs]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for address in [port.address(), other_port.address()] {
        let kept = ask(address, "GET", "/kv/peer.value", b"").unwrap();
        assert_eq!((kept.status, kept.body.as_slice()), (200, b"given by 2.0.0".as_slice()));
    }
    peer.stop();
    let refused = refused(NODE, 7, &["exchange", "--own", &own, "--peer", "127.0.0.1:1"]);
    assert!(refused.contains("cannot talk to 127.0.0.1:1"), "{refused}");
    node.stop();
}

#[test]
fn what_a_peer_does_not_speak_is_refused() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    let hello = ask(port.address(), "GET", "/peer/hello", b"").unwrap();
    assert_eq!((hello.status, hello.body.as_slice()), (200, b"examplenode 1 1\n".as_slice()));
    for (path, body, wanted) in [
        ("/peer/1", b"key\nvalue".as_slice(), 200),
        ("/peer/2", b"key 5\nvalue", 404),
        ("/peer/1", b"key", 400),
        ("/peer/1", b"no key\nvalue", 400),
    ] {
        let answer = ask(port.address(), "POST", path, body).unwrap();
        assert_eq!(answer.status, wanted, "{path}");
    }
    node.stop();
}
