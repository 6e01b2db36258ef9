//! The units that a node gets, as systemd's own tools judge them.

use std::path::Path;
use std::process::{Command, Output};

use crate::node::Node;
use crate::process::run;

fn analyze(words: &[&str], dir: &Path, unit: &str) -> Output {
    let unit = dir.join(unit);
    let analyze = Command::new("systemd-analyze").args(words).arg(unit).output();
    analyze.expect("systemd is not installed: .ci/install")
}

#[track_caller]
fn good(output: &Output) {
    let told = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
}

#[test]
fn the_units_of_a_node_are_whole_and_as_hard_as_their_work_lets_them_be() {
    let node = Node::new();
    let home = node.home.path().to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path();
    let written =
        run(&["systemd", home, "--name", "one", "--sockets", "--write", units.to_str().unwrap()]);
    good(&written);
    let names = ["countersign-node@one.service", "countersign-agent@one.service"];
    let all = [names[0], names[1], "countersign-node@one-http.socket"];
    for unit in all {
        let verified = analyze(&["verify", "--recursive-errors=no", "--man=no"], units, unit);
        good(&verified);
        assert!(verified.stderr.is_empty(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
    // Exposure in tenths, 100 is a unit without any hardening. The agent makes sandboxes, and here it is root's.
    for (unit, threshold) in [(names[0], "--threshold=20"), (names[1], "--threshold=65")] {
        good(&analyze(&["security", "--offline=true", "--no-pager", threshold], units, unit));
    }
    let text = std::fs::read_to_string(units.join(names[0])).unwrap();
    assert!(text.contains("Sockets=countersign-node@one-http.socket\n"), "{text}");
    let socket = std::fs::read_to_string(units.join(all[2])).unwrap();
    assert!(socket.contains(&format!("ListenStream={}\n", node.address)), "{socket}");
    let printed = run(&["systemd", home, "--name", "../one"]);
    assert_eq!(printed.status.code(), Some(2));
}
