//! Copies taken while the node writes.

use std::fs;

use crate::client::{Load, get, put, stat};
use crate::harness::{NODE, Node, Port, Scratch, refused, run, until};

#[test]
fn a_copy_taken_while_the_node_writes_holds_every_write_acknowledged_before() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    let load = Load::start(port.address());
    let copies: Vec<_> = (1..=5)
        .map(|number| {
            until("writes", || load.written() >= number * 150);
            let before = load.acknowledged();
            let copy = scratch.path(&format!("copy-{number}"));
            let (state, to) = (scratch.state(), copy.to_str().unwrap());
            let words = ["checkpoint", "--state", state.to_str().unwrap(), "--to", to];
            assert!(run(NODE, &words).status.success());
            (copy, before)
        })
        .collect();
    assert!(load.stop().1.is_empty());
    node.stop();
    for (copy, before) in copies {
        let port = Port::open();
        let node = Node::start(NODE, &copy, &port);
        for key in &before {
            assert_eq!(get(port.address(), key).as_ref(), Some(key));
        }
        // Every key is written once, so the two areas agree if these are equal.
        assert_eq!(stat(port.address(), "load"), stat(port.address(), "keys"));
        node.stop();
    }
}

#[test]
fn a_copy_of_a_stopped_node_is_the_same_and_goes_only_to_an_empty_directory() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    put(port.address(), "key", "value");
    node.stop();
    let (state, copy) = (scratch.state(), scratch.path("copy"));
    let words = ["checkpoint", "--state", state.to_str().unwrap(), "--to", copy.to_str().unwrap()];
    assert!(run(NODE, &words).status.success());
    for file in ["values/SCHEMA", "values/log.2", "counters/SCHEMA", "counters/counts.1"] {
        assert_eq!(fs::read(state.join(file)).unwrap(), fs::read(copy.join(file)).unwrap());
    }
    assert!(refused(NODE, 3, &words).contains("is not empty"));
}

#[test]
fn a_copy_that_was_never_finished_is_refused() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    put(port.address(), "key", "value");
    node.stop();
    let state = scratch.state();
    fs::remove_file(state.join("values/SCHEMA")).unwrap();
    let words = ["serve", "--state", state.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    assert!(refused(NODE, 3, &words).contains("a copy that was never finished"));
    fs::remove_dir_all(state.join("values")).unwrap();
    assert!(refused(NODE, 3, &words).contains("a copy that was never finished"));
}
