//! Handing over: two versions at once on the same sockets, and whatever can go wrong meanwhile.

use crate::clients::{Clients, put, until};
use crate::tiny::{Tiny, get};
use countersign_updater::supervise::{Client, ClientError, ExitClass, Phase, Reply, Request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const HOLD: Request = Request::Stop { hold_ms: 60_000 };
const HAND_OVER: Request = Request::HandOver { ready_ms: 30_000 };

/// One that ended, and that nobody has waited for yet, does not live.
fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn pid(client: &Client) -> i32 {
    client.status().unwrap().pid.unwrap()
}

#[test]
fn versions_are_handed_over_under_load_and_no_request_fails_and_somebody_always_serves() {
    let node = Tiny::new(&["--overlap", "--with-child"]);
    let second = node.generation(2, "2.0.0", &["--overlap", "--with-child"]);
    let third = node.generation(3, "3.0.0", &["--overlap"]);
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 4);
    let client = node.client();
    for number in [second, third, 1, second] {
        clients.wait_for(100);
        let old = pid(&client);
        node.point_to(number);
        assert_eq!(client.ask(HAND_OVER).unwrap(), Reply::Ready);
        let status = client.status().unwrap();
        assert_eq!((status.phase, status.generation), (Phase::Ready, number));
        assert_ne!(status.pid, Some(old));
        // Its child, which nobody else would end, is gone with it.
        node.until_status(|status| status.draining == 0);
        assert!(!lives(old));
        assert_eq!(client.status().unwrap().crashes, 0);
    }
    clients.wait_for(100);
    let (sent, failed) = clients.stop();
    assert_eq!(failed, Vec::<String>::new());
    let kept = node.words();
    assert!(sent.iter().all(|word| kept.contains(word)), "an acknowledged write is gone");
    supervisor.terminate();
}

#[test]
fn a_new_version_that_does_not_come_up_leaves_the_old_one_serving_and_the_way_back_touches_nothing()
{
    let node = Tiny::new(&["--overlap"]);
    let mute = node.generation(2, "2.0.0", &["--overlap", "--never-ready"]);
    let dies = node.generation(3, "3.0.0", &["--overlap", "--exit"]);
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 2);
    let client = node.client();
    let first = pid(&client);
    node.point_to(mute);
    let refused = client.ask(Request::HandOver { ready_ms: 200 }).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { by_node: true, .. }), "{refused}");
    node.point_to(dies);
    let refused = client.ask(HAND_OVER).unwrap_err();
    assert!(refused.to_string().contains("before it was ready"), "{refused}");
    assert!(matches!(refused, ClientError::Refused { by_node: true, .. }));
    assert_eq!(client.status().unwrap().last_exit.unwrap().class, ExitClass::Failed);
    // The old version again, under another number.
    let again = node.generation(4, "1.0.0", &["--overlap"]);
    node.point_to(again);
    assert_eq!(client.ask(HAND_OVER).unwrap(), Reply::Ready);
    assert_eq!(client.status().unwrap().generation, again);
    node.until_status(|status| status.draining == 0);
    assert_eq!(pid(&client), first);
    clients.wait_for(20);
    assert_eq!(clients.stop().1, Vec::<String>::new());
    supervisor.terminate();
}

#[test]
fn versions_with_exclusive_state_are_never_run_at_once() {
    let node = Tiny::new(&["--overlap"]);
    let exclusive = node.generation(2, "2.0.0", &[]);
    let mut supervisor = node.supervise(&[]);
    node.point_to(exclusive);
    let refused = node.client().ask(HAND_OVER).unwrap_err();
    assert!(refused.to_string().contains("may not run at once"), "{refused}");
    assert!(matches!(refused, ClientError::Refused { by_node: false, .. }));
    get(node.address).unwrap();
    assert_eq!(node.client().status().unwrap().generation, 1);
    supervisor.terminate();
}

#[test]
fn if_the_one_that_serves_dies_first_the_one_beside_it_takes_its_place() {
    let node = Tiny::new(&["--overlap"]);
    let mute = node.generation(2, "2.0.0", &["--overlap", "--never-ready"]);
    let mut supervisor = node.supervise(&[]);
    let client = node.client();
    let first = pid(&client);
    node.point_to(mute);
    let asks = client.clone();
    let waiting = std::thread::spawn(move || asks.ask(Request::HandOver { ready_ms: 60_000 }));
    let started = node.home.state(1).join("starts");
    until(|| std::fs::read(&started).is_ok_and(|starts| starts.len() >= 2));
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let status = node.until_status(|status| status.generation == mute);
    assert_eq!(status.phase, Phase::Starting);
    assert_ne!(status.pid, Some(first));
    // It accepts, though it never said that it is ready.
    put(node.address, "word").unwrap();
    supervisor.terminate();
    assert!(waiting.join().unwrap().is_err());
}

#[test]
fn a_supervisor_killed_while_two_versions_run_is_followed_by_one_that_runs_what_current_names() {
    let node = Tiny::new(&["--overlap"]);
    let mute = node.generation(2, "2.0.0", &["--overlap", "--never-ready"]);
    let third = node.generation(3, "3.0.0", &["--overlap"]);
    let mut supervisor = node.supervise(&[]);
    let client = node.client();
    let first = pid(&client);
    node.point_to(mute);
    let asks = client.clone();
    let waiting = std::thread::spawn(move || asks.ask(Request::HandOver { ready_ms: 60_000 }));
    let started = node.home.state(1).join("starts");
    until(|| std::fs::read(&started).is_ok_and(|starts| starts.len() >= 2));
    supervisor.signal(Signal::SIGKILL);
    supervisor.wait();
    assert!(waiting.join().unwrap().is_err());
    put(node.address, "orphaned").unwrap();
    node.point_to(third);
    let mut second = node.supervise(&[]);
    let status = client.status().unwrap();
    assert_eq!((status.generation, status.draining), (third, 0));
    assert!(!lives(first), "whoever ran before has ended");
    put(node.address, "adopted").unwrap();
    second.terminate();
    assert!(get(node.address).is_err(), "nobody is left");
}

#[test]
fn a_store_that_stays_locked_is_waited_for_up_to_the_limit_of_the_operator() {
    let node = Tiny::new(&["--lock"]);
    let mut supervisor = node.supervise(&["--kill-after", "1500ms"]);
    let client = node.client();
    let hold = || {
        let file = std::fs::File::create(node.home.state(1).join("LOCK")).unwrap();
        file.lock().unwrap();
        file
    };
    let held = hold();
    assert!(matches!(client.ask(HOLD).unwrap(), Reply::Stopping { .. }));
    let status = node.until_status(|status| status.reason.contains("is locked still"));
    assert_eq!(status.phase, Phase::Stopping);
    drop(held);
    assert_eq!(client.ask(HOLD).unwrap(), Reply::Stopped);
    client.ask(Request::Start { ready_ms: 30_000 }).unwrap();
    let held = hold();
    let told = std::iter::from_fn(|| Some(client.ask(HOLD)))
        .find(|answer| !matches!(answer, Ok(Reply::Stopping { .. })));
    let refused = told.unwrap().unwrap_err().to_string();
    assert!(refused.contains("is locked still"), "{refused}");
    drop(held);
    supervisor.terminate();
}
