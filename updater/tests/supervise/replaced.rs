//! The supervisor becomes another program under load: the node, its sockets and whoever asks are kept.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::clients::Clients;
use crate::tiny::{PROGRAM, Tiny, get};
use countersign_updater::supervise::{ClientError, Phase, Reply, Request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Makes `NODE/updater/current` name a program of this name, and returns its file.
fn name(node: &Tiny, name: &str) -> PathBuf {
    let dir = node.home.path().join("updater");
    fs::create_dir_all(&dir).unwrap();
    let program = fs::canonicalize(&dir).unwrap().join(name);
    if !program.exists() {
        fs::copy(PROGRAM, &program).unwrap();
    }
    let link = dir.join("current");
    let _first = fs::remove_file(&link);
    symlink(name, &link).unwrap();
    program
}

/// Asks for it; the answer may go under with the program that would have given it.
fn replace(node: &Tiny) {
    match node.client().ask(Request::Replace) {
        Ok(Reply::Done) | Err(ClientError::Broken { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_supervisor_replaced_under_load_fails_no_request_and_supervises_on() {
    let node = Tiny::new(&["--with-child"]);
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 4);
    let before = node.client().status().unwrap();
    for program in ["a", "b", "a", "b", "a"] {
        clients.wait_for(50);
        let program = name(&node, program);
        replace(&node);
        let now = node.until_status(|status| status.program.as_ref() == Some(&program));
        assert_eq!((now.phase, now.pid, now.since), (Phase::Ready, before.pid, before.since));
        assert_eq!((now.supervisor, now.crashes), (before.supervisor, 0));
        assert_eq!(now.listen, before.listen);
    }
    // Also where the node's own descriptors are other ones by now.
    for program in ["b", "a", "b"] {
        assert_eq!(node.client().ask(Request::Stop { hold_ms: 60_000 }).unwrap(), Reply::Stopped);
        assert_eq!(node.client().ask(Request::Start { ready_ms: 30_000 }).unwrap(), Reply::Ready);
        let program = name(&node, program);
        replace(&node);
        node.until_status(|status| status.program.as_ref() == Some(&program));
        clients.wait_for(50);
    }
    clients.wait_for(50);
    // It still is the node's parent: stops it, starts it, sees it end.
    assert_eq!(node.client().ask(Request::Stop { hold_ms: 60_000 }).unwrap(), Reply::Stopped);
    assert_eq!(node.client().ask(Request::Start { ready_ms: 30_000 }).unwrap(), Reply::Ready);
    clients.wait_for(50);
    assert_eq!(clients.stop().1, Vec::<String>::new());
    let pid = node.client().status().unwrap().pid.unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let status = node.until_status(|s| s.phase == Phase::Ready && s.pid != Some(pid));
    assert_eq!(status.crashes, 1);
    replace(&node);
    assert_eq!(node.until_status(|status| status.phase == Phase::Ready).crashes, 1);
    supervisor.terminate();
    assert!(get(node.address).is_err(), "the node lives and dies with its supervisor");
}

#[test]
fn a_program_that_cannot_be_run_leaves_the_one_before_in_its_place() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 2);
    let before = node.client().status().unwrap();
    let broken = node.home.path().join("updater/broken");
    fs::create_dir_all(broken.parent().unwrap()).unwrap();
    fs::write(&broken, "no program\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o644)).unwrap();
    name(&node, "broken");
    replace(&node);
    clients.wait_for(50);
    let after = node.until_status(|status| status.phase == Phase::Ready);
    assert_eq!((after.pid, after.program), (before.pid, before.program));
    assert_eq!(clients.stop().1, Vec::<String>::new());
    supervisor.terminate();
}

#[test]
fn nothing_is_replaced_while_the_node_is_held_stopped() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    node.client().ask(Request::Stop { hold_ms: 60_000 }).unwrap();
    let refused = node.client().ask(Request::Replace).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { .. }), "{refused}");
    node.client().ask(Request::Start { ready_ms: 30_000 }).unwrap();
    replace(&node);
    node.until_status(|status| status.phase == Phase::Ready);
    supervisor.terminate();
}
