//! How the node starts: its socket, its lock, and how it says that it is ready.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::client::ask;
use crate::harness::{NODE, Node, Port, Scratch, refused, wait_ready};

#[test]
fn a_socket_that_was_meant_for_another_process_is_not_taken() {
    let (scratch, port) = (Scratch::new(), Port::open());
    for variables in [
        "LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=http",
        "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=metrics",
        "LISTEN_FDS=1",
    ] {
        let mut command = port.pass(NODE, variables);
        let output = command.args(["serve", "--state"]).arg(scratch.state()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{variables}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("no socket named http"));
    }
}

#[test]
fn readiness_is_told_to_a_socket_with_a_path_too() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let notify = scratch.path("n");
    let socket = UnixDatagram::bind(&notify).unwrap();
    let mut node = Command::new(NODE)
        .args(["serve", "--listen", "127.0.0.1:0", "--state"])
        .arg(scratch.state())
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    wait_ready(&socket);
    node.kill().unwrap();
    node.wait().unwrap();
    drop(port);
}

#[test]
fn a_state_in_use_is_refused_to_a_second_node_and_to_a_migration() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    let state = scratch.state();
    let state = state.to_str().unwrap();
    let serve = ["serve", "--state", state, "--listen", "127.0.0.1:0"];
    assert!(refused(NODE, 8, &serve).contains("is in use by another process"));
    let migrate = ["migrate", "--area", "values", "--state", state, "--from", "2", "--to", "1"];
    assert!(refused(NODE, 8, &migrate).contains("is in use by another process"));
    node.stop();
}

#[test]
fn the_node_says_which_version_it_is_and_refuses_what_it_does_not_speak() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(NODE, &scratch.state(), &port);
    let version = ask(port.address(), "GET", "/node/version", b"").unwrap();
    assert_eq!(
        String::from_utf8(version.body).unwrap(),
        "{\"product\":\"examplenode\",\"version\":\"2.0.0\",\"protocol\":[1,1]}\n"
    );
    for (method, path, status) in [
        ("GET", "/kv/missing", 404),
        ("POST", "/kv/key", 405),
        ("PUT", "/kv/", 400),
        ("PUT", "/kv/a%2Fb", 400),
        ("GET", "/", 404),
        ("PUT", "/stats", 405),
    ] {
        assert_eq!(ask(port.address(), method, path, b"").unwrap().status, status, "{path}");
    }
    let big = ask(port.address(), "PUT", "/kv/big", &vec![0; 65_537]).unwrap();
    assert_eq!((big.status, big.last), (413, true));
    assert_eq!(ask(port.address(), "PUT", "/kv/big", &vec![0; 65_536]).unwrap().status, 200);
    node.stop();
}
