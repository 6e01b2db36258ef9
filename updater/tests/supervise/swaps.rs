//! Starting, stopping, freezing, crashing, and what is left when somebody dies.

use std::fs;
use std::time::Duration;

use crate::clients::{Clients, put, until};
use crate::tiny::{Tiny, get};
use countersign_updater::supervise::{ClientError, Phase, Reply, Request};
use nix::sys::signal::Signal;

const HOLD: Request = Request::Stop { hold_ms: 60_000 };
const START: Request = Request::Start { ready_ms: 30_000 };

#[test]
fn connections_queue_while_the_node_is_swapped_and_no_request_fails() {
    let node = Tiny::new(&[]);
    let second = node.generation(2, "2.0.0", &[]);
    let third = node.generation(3, "3.0.0", &["--with-child"]);
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 4);
    for number in [second, third, 1, second] {
        clients.wait_for(100);
        assert_eq!(node.client().ask(HOLD).unwrap(), Reply::Stopped);
        assert_eq!(node.client().status().unwrap().phase, Phase::Held);
        node.point_to(number);
        assert_eq!(node.client().ask(START).unwrap(), Reply::Ready);
        assert_eq!(node.client().status().unwrap().generation, number);
    }
    clients.wait_for(100);
    let (sent, failed) = clients.stop();
    assert_eq!(failed, Vec::<String>::new());
    let kept = node.words();
    assert!(sent.iter().all(|word| kept.contains(word)), "an acknowledged write is gone");
    supervisor.terminate();
}

#[test]
fn a_node_that_crashes_is_started_again_and_the_crash_is_counted() {
    let node = Tiny::new(&["--crash-on-word"]);
    let mut supervisor = node.supervise(&[]);
    let first = node.client().status().unwrap().pid;
    assert!(put(node.address, "word").is_err());
    let status = node.until_status(|status| status.phase == Phase::Ready && status.pid != first);
    assert_eq!(status.crashes, 1);
    assert_eq!(status.last_exit.unwrap().signal.as_deref(), Some("SIGABRT"));
    get(node.address).unwrap();
    supervisor.terminate();
}

#[test]
fn a_new_version_that_does_not_come_up_is_told_from_one_that_is_slow() {
    let node = Tiny::new(&[]);
    let broken = node.broken_generation(2);
    let mute = node.generation(3, "3.0.0", &["--never-ready"]);
    let mut supervisor = node.supervise(&[]);
    node.client().ask(HOLD).unwrap();
    node.point_to(broken);
    let refused = node.client().ask(START).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { by_node: true, .. }), "{refused}");
    node.client().ask(HOLD).unwrap();
    node.point_to(mute);
    let refused = node.client().ask(Request::Start { ready_ms: 200 }).unwrap_err();
    assert!(refused.to_string().contains("not ready within"), "{refused}");
    // The way back is always open.
    node.client().ask(HOLD).unwrap();
    node.point_to(1);
    assert_eq!(node.client().ask(START).unwrap(), Reply::Ready);
    supervisor.terminate();
}

#[test]
fn a_dead_agent_leaves_the_node_neither_stopped_nor_frozen() {
    let node = Tiny::new(&["--with-child"]);
    let mut supervisor = node.supervise(&[]);
    node.client().ask(Request::Stop { hold_ms: 300 }).unwrap();
    node.until_status(|status| status.phase == Phase::Ready);
    node.client().ask(Request::Freeze { for_ms: 300 }).unwrap();
    assert!(node.client().status().unwrap().frozen);
    node.until_status(|status| !status.frozen);
    get(node.address).unwrap();
    let late = node.client().ask(Request::Thaw).unwrap();
    assert_eq!(late, Reply::Thawed { was_frozen: false }, "who copied meanwhile must know");
    supervisor.terminate();
}

#[test]
fn a_hold_is_renewed_for_as_long_as_the_agent_lives() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    node.client().ask(Request::Stop { hold_ms: 2_000 }).unwrap();
    for _ in 0..10 {
        node.client().ask(Request::Renew { hold_ms: 60_000 }).unwrap();
        assert_eq!(node.client().status().unwrap().phase, Phase::Held);
    }
    node.client().ask(Request::Renew { hold_ms: 0 }).unwrap();
    node.until_status(|status| status.phase == Phase::Ready);
    assert!(node.client().ask(Request::Renew { hold_ms: 60_000 }).is_err(), "it runs already");
    supervisor.terminate();
}

#[test]
fn a_state_between_two_schemas_is_not_started_on() {
    let node = Tiny::new(&[]);
    let second = node.generation(2, "2.0.0", &[]);
    let mut supervisor = node.supervise(&[]);
    node.client().ask(Request::Stop { hold_ms: 100 }).unwrap();
    countersign_updater::swap::marker::set(&node.home, 1, &"2.0.0".parse().unwrap()).unwrap();
    let status = node.until_status(|status| status.reason.contains("unfinished"));
    assert_eq!(status.phase, Phase::Waiting);
    node.point_to(second);
    node.until_status(|status| status.phase == Phase::Ready && status.generation == second);
    supervisor.terminate();
}

#[test]
fn frozen_requests_wait_and_are_answered_after() {
    let node = Tiny::new(&["--with-child"]);
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 2);
    clients.wait_for(20);
    node.client().ask(Request::Freeze { for_ms: 30_000 }).unwrap();
    let before = fs::read(node.home.state(1).join("words")).unwrap();
    assert!(node.client().status().unwrap().frozen);
    assert_eq!(fs::read(node.home.state(1).join("words")).unwrap(), before);
    assert_eq!(node.client().ask(Request::Thaw).unwrap(), Reply::Thawed { was_frozen: true });
    clients.wait_for(20);
    assert_eq!(clients.stop().1, Vec::<String>::new());
    supervisor.terminate();
}

#[test]
fn a_killed_supervisor_leaves_the_node_serving_and_the_next_one_takes_over() {
    let node = Tiny::new(&["--with-child"]);
    let mut supervisor = node.supervise(&[]);
    let old = node.client().status().unwrap().pid.unwrap();
    supervisor.signal(Signal::SIGKILL);
    supervisor.wait();
    put(node.address, "orphaned").unwrap();
    let mut second = node.supervise(&[]);
    let status = node.until_status(|status| status.phase == Phase::Ready);
    assert_ne!(status.pid, Some(old));
    assert_eq!(status.crashes, 0, "the supervisor's death is not the node's");
    put(node.address, "adopted").unwrap();
    assert_eq!(node.words(), ["orphaned", "adopted"]);
    second.terminate();
    assert!(get(node.address).is_err(), "the node lives and dies with its supervisor");
}

#[test]
fn a_node_that_nobody_noted_is_found_by_the_lock_that_it_holds() {
    let node = Tiny::new(&["--with-child"]);
    let mut supervisor = node.supervise(&[]);
    let old = node.client().status().unwrap().pid.unwrap();
    supervisor.signal(Signal::SIGKILL);
    supervisor.wait();
    put(node.address, "orphaned").unwrap();
    fs::remove_file(node.home.run().join("node.json")).unwrap();
    let mut second = node.supervise(&[]);
    let status = node.until_status(|status| status.phase == Phase::Ready);
    assert_ne!(status.pid, Some(old));
    put(node.address, "adopted").unwrap();
    assert_eq!(node.words(), ["orphaned", "adopted"]);
    second.terminate();
}

#[test]
fn whoever_holds_the_lock_and_is_no_node_is_waited_for_and_not_ended() {
    let node = Tiny::new(&[]);
    let lock = node.home.state_lock();
    // As an agent's migration does: it inherited the lock, and no supervisor started it.
    let held = countersign_updater::supervise::lock_state(&node.home).unwrap();
    let mut migration = std::process::Command::new("sleep")
        .arg("600")
        .stdin(held.try_clone().unwrap())
        .spawn()
        .unwrap();
    drop(held);
    let mut supervisor = node.begin(&[]);
    let status = node.until_status(|status| status.reason.contains("in use"));
    assert_eq!(status.phase, Phase::Waiting);
    assert!(migration.try_wait().unwrap().is_none(), "{} was freed by force", lock.display());
    migration.kill().unwrap();
    migration.wait().unwrap();
    node.until_status(|status| status.phase == Phase::Ready);
    supervisor.terminate();
}

#[test]
fn what_the_next_supervisor_must_know_is_written_as_soon_as_the_disk_lets_it_be() {
    let node = Tiny::new(&[]);
    let note = node.home.run().join("node.json");
    // No rename can replace a directory by a file.
    fs::create_dir(&note).unwrap();
    let mut supervisor = node.supervise(&[]);
    get(node.address).unwrap();
    fs::remove_dir(&note).unwrap();
    // Whatever happens makes it look again.
    until(|| node.client().status().is_ok() && note.is_file());
    supervisor.terminate();
}

#[test]
fn a_release_that_renames_a_socket_is_started_and_so_is_the_way_back() {
    let node = Tiny::new(&[]);
    let second = node.generation_with_socket(2, "2.0.0", "web");
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 2);
    for (number, name) in [(second, "web"), (1, "http")] {
        clients.wait_for(20);
        assert_eq!(node.client().ask(HOLD).unwrap(), Reply::Stopped);
        node.point_to(number);
        assert_eq!(node.client().ask(START).unwrap(), Reply::Ready);
        let listen = node.client().status().unwrap().listen;
        assert_eq!(listen, [(name.to_owned(), node.address)]);
    }
    clients.wait_for(20);
    assert_eq!(clients.stop().1, Vec::<String>::new());
    supervisor.terminate();
}

#[test]
fn kill_comes_only_after_the_limit_of_the_operator() {
    let node = Tiny::new(&["--deaf"]);
    let mut supervisor = node.supervise(&["--kill-after", "1500ms"]);
    // The release's grace is one second: the answer says so, and the node still runs.
    let answer = node.client().ask(HOLD).unwrap();
    assert!(matches!(answer, Reply::Stopping { for_ms: 1000.. }), "{answer:?}");
    assert_eq!(node.client().status().unwrap().phase, Phase::Stopping);
    assert_eq!(node.client().ask(HOLD).unwrap(), Reply::Stopped);
    supervisor.terminate();
}

#[test]
fn nobody_writes_the_state_while_a_process_of_the_node_lives() {
    let node = Tiny::new(&["--with-child"]);
    let mut supervisor = node.supervise(&[]);
    let lock = || countersign_updater::supervise::lock_state(&node.home);
    assert!(lock().is_err());
    node.client().ask(HOLD).unwrap();
    let held = lock().unwrap();
    let refused = node.client().ask(START).unwrap_err().to_string();
    assert!(refused.contains("in use"), "{refused}");
    drop(held);
    node.until_status(|status| status.phase == Phase::Ready);
    assert!(lock().is_err());
    supervisor.terminate();
    lock().unwrap();
}

#[test]
fn two_node_directories_with_one_data_directory_run_one_node() {
    let (one, two) = (Tiny::new(&[]), Tiny::new(&[]));
    let shared = one.home.state(1);
    fs::rename(two.home.state(1), two.home.states().join("own")).unwrap();
    std::os::unix::fs::symlink(&shared, two.home.state(1)).unwrap();
    let mut first = one.supervise(&[]);
    let mut second = two.begin(&[]);
    let status = two.until_status(|status| status.reason.contains("in use"));
    assert_eq!(status.phase, Phase::Waiting);
    put(one.address, "from-the-one").unwrap();
    first.terminate();
    two.until_status(|status| status.phase == Phase::Ready);
    put(two.address, "from-the-other").unwrap();
    second.terminate();
    assert_eq!(one.words(), ["from-the-one", "from-the-other"]);
}

#[test]
fn a_second_supervisor_and_a_taken_port_are_refused_with_their_exit_codes() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    let second = node.command(&[]).output().unwrap();
    assert_eq!(second.status.code(), Some(8));
    supervisor.terminate();
    let _taken = std::net::TcpListener::bind(node.address).unwrap();
    let refused = node.command(&[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(7));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("cannot listen on") && told.contains("hint:"), "{told}");
}

#[test]
fn the_control_socket_is_for_its_owner_and_survives_nonsense() {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    let path = node.home.supervisor_socket();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"{\"do\":\"explode\"}\n{\"do\":\"status\"}\n").unwrap();
    let mut answer = [0; 4096];
    let mut text = String::new();
    until(|| {
        let length = stream.read(&mut answer).unwrap();
        text.push_str(std::str::from_utf8(&answer[..length]).unwrap());
        text.matches('\n').count() == 2
    });
    assert!(text.contains("\"refused\"") && text.contains("\"status\""), "{text}");
    supervisor.terminate();
}
