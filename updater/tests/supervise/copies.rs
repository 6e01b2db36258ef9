//! Copies of the state of a node that runs and writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::clients::{Clients, until};
use crate::tiny::Tiny;
use countersign_updater::generation::Generation;
use countersign_updater::state::copy::{Copier, Pass};
use countersign_updater::state::shadow_copy::{self, Made};
use countersign_updater::state::{Rung, Secrets, StateError, snapshot};
use countersign_updater::supervise::{Phase, Request};

const LIMIT: Duration = Duration::from_secs(30);

/// Whether the churned files are as one moment leaves them: the same number everywhere, or one more in the first ones.
fn is_one_moment(dir: &Path) -> bool {
    let read = |n: usize| fs::read_to_string(dir.join(format!("churn-{n:02}"))).unwrap();
    let numbers: Vec<u64> = (0..20).map(|n| read(n).parse().unwrap_or(u64::MAX)).collect();
    numbers.is_sorted_by(|a, b| a >= b) && numbers[0] - numbers[19] <= 1
}

fn copied(node: &Tiny, current: &Generation) -> Made {
    let secrets = Secrets::of(current);
    shadow_copy::make(&node.home, current, &node.client(), &secrets, 0, LIMIT).unwrap()
}

fn churns(node: &Tiny) {
    let last = node.home.state(1).join("churn-19");
    until(|| fs::read(&last).is_ok_and(|bytes| bytes.len() == 20));
}

#[test]
fn a_copy_for_the_shadow_is_one_moment_of_a_node_that_never_stops_writing() {
    let node = Tiny::new(&["--churn"]);
    let mut supervisor = node.supervise(&[]);
    churns(&node);
    let current = Generation::current(&node.home).unwrap().unwrap();
    for _ in 0..10 {
        let made = copied(&node, &current);
        assert_eq!(made.checkpoint, None);
        assert_ne!(made.by, Rung::Checkpoint);
        assert!(is_one_moment(&shadow_copy::place(&node.home)));
        assert!(!node.client().status().unwrap().frozen);
    }
    // The control: the same copy without the freeze is not one moment.
    let mut tries = 0;
    until(|| {
        tries += 1;
        let to = node.home.shadow().join(format!("control-{tries}"));
        Copier::new(&node.home.state(1), &to).unwrap().pass(Pass::Live).unwrap();
        !is_one_moment(&to)
    });
    supervisor.terminate();
}

#[test]
fn a_snapshot_holds_every_write_that_was_acknowledged_and_restores_beside_the_state() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 4);
    clients.wait_for(50);
    let ahead = snapshot::ahead(&node.home, 1, 1, 0).unwrap();
    clients.wait_for(50);
    assert!(
        matches!(snapshot::complete(&node.home, 1, 1, 0, None, None), Err(StateError::Lock(_))),
        "not while the node runs"
    );
    let ahead_again = snapshot::ahead(&node.home, 1, 1, 0).unwrap();
    drop(ahead);
    node.client().ask(Request::Stop { hold_ms: 60_000 }).unwrap();
    snapshot::complete(&node.home, 1, 1, 0, Some(ahead_again), None).unwrap();
    let words = fs::read(node.home.state(1).join("words")).unwrap();
    assert_eq!(fs::read(node.home.snapshot(1).join("tree/words")).unwrap(), words);

    let restored = snapshot::restore(&node.home, 1, 0).unwrap();
    assert_eq!(restored, 2);
    assert_eq!(snapshot::restore(&node.home, 1, 0).unwrap(), 2, "once is enough");
    assert_eq!(fs::read(node.home.state(2).join("words")).unwrap(), words);
    assert_eq!(fs::read(node.home.state(1).join("words")).unwrap(), words, "the newer one stays");

    node.client().ask(Request::Start { ready_ms: 30_000 }).unwrap();
    clients.wait_for(10);
    let (sent, failed) = clients.stop();
    assert_eq!(failed, Vec::<String>::new());
    assert!(sent.iter().all(|word| node.words().contains(word)));
    supervisor.terminate();
}

#[test]
fn a_node_that_does_not_run_is_copied_all_the_same() {
    let node = Tiny::new(&[]);
    fs::write(node.home.state(1).join("words"), "kept\n").unwrap();
    let mut supervisor = node.supervise(&[]);
    node.client().ask(Request::Stop { hold_ms: 60_000 }).unwrap();
    node.until_status(|status| status.phase == Phase::Held);
    let current = Generation::current(&node.home).unwrap().unwrap();
    copied(&node, &current);
    assert_eq!(fs::read(shadow_copy::place(&node.home).join("words")).unwrap(), b"kept\n");
    supervisor.terminate();
}

#[test]
fn the_nodes_own_checkpoint_is_taken_without_its_secrets_and_a_broken_one_leads_to_the_next_rung() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    for name in ["key", "kept"] {
        fs::write(node.home.state(1).join(name), name).unwrap();
    }
    let mut current = Generation::current(&node.home).unwrap().unwrap();
    let script = current.tree(&node.home).join("bin/checkpoint");
    let write = |text: &str| {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let words = ["bin/checkpoint", "{state}", "{to}"];
    current.launch.checkpoint = Some(words.map(str::to_owned).into());
    current.launch.secrets = vec!["key".parse().unwrap()];
    let place = shadow_copy::place(&node.home);
    write("#!/bin/sh\nexec cp -r \"$1\" \"$2\"\n");
    assert_eq!(copied(&node, &current).by, Rung::Checkpoint);
    assert!(place.join("kept").is_file() && !place.join("key").exists());
    write("#!/bin/sh\nexit 1\n");
    let made = copied(&node, &current);
    assert!(made.by != Rung::Checkpoint && made.checkpoint.unwrap().contains("exit status: 1"));
    assert!(place.join("kept").is_file() && !place.join("key").exists());
    supervisor.terminate();
}
