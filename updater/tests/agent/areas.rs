//! Areas of state that go their own ways: two at once, in opposite directions, read without a migration, or secret.

use countersign_metadata::Sha256;
use countersign_updater::machine::{Effect, State};
use countersign_updater::state::{Secrets, snapshot};
use serde_json::{Value, json};

use crate::clients::{self, Clients};
use crate::node::Node;

fn index(schema: u32, reads: &[u32]) -> Value {
    let migrate = ["bin/node", "migrate", "{state}", "{from}", "{to}", "index"];
    json!({ "areas": { "index": { "schema": schema, "reads": reads, "migrate": migrate } } })
}

/// A node at 1.1.0, whose index has schema 3.
fn two_areas() -> (Node, crate::node::Supervisor) {
    let mut node = Node::new();
    let supervisor = node.supervise();
    node.publish_with("1.1.0", 1, "index=3", index(3, &[]));
    assert_eq!(node.run().name(), "Committed");
    clients::put(node.address, "before").unwrap();
    (node, supervisor)
}

fn index_of(node: &Node) -> String {
    std::fs::read_to_string(node.current().state_dir(&node.home).join("index")).unwrap()
}

/// Lives of the agent, killed by the migrations themselves, until one comes to its end. How many were killed.
fn lives(node: &Node) -> usize {
    (0..20).find(|_| !node.run_and_die(usize::MAX)).unwrap()
}

pub(crate) fn opposite_directions_with_a_kill_in_each() {
    let (mut node, mut supervisor) = two_areas();
    let writer = Clients::start(node.address, 1);
    writer.wait_for(10);
    // The words go from 1 to 2 while the index goes from 3 to 1, over two numbers at once.
    node.publish_with("2.0.0", 2, "index=1 kills-agent-live", index(1, &[]));
    assert_eq!(lives(&node), 2);
    assert_eq!(node.state().name(), "Committed");
    assert_eq!(index_of(&node), "1");
    writer.wait_for(10);
    node.keeps_all(writer);
    let migrations = node.records().iter().filter(|r| r.effect == Effect::Migrate).count();
    assert!(migrations >= 6, "each is begun twice and comes to its end: {migrations}");
    supervisor.terminate();
}

pub(crate) fn the_way_back_with_a_kill_in_each() {
    let (mut node, mut supervisor) = two_areas();
    node.publish_with("2.0.0", 2, "index=1 kills-agent-live sick-live", index(1, &[]));
    assert_eq!(lives(&node), 4);
    let State::RolledBack { undo, .. } = node.state() else { panic!("{:?}", node.state()) };
    assert_eq!(undo.kept_aside, None, "{undo:?}");
    assert_eq!((index_of(&node).as_str(), node.words()), ("3", vec!["before".to_owned()]));
    clients::put(node.address, "after").unwrap();
    supervisor.terminate();
}

pub(crate) fn read_without_a_migration() {
    let (mut node, mut supervisor) = two_areas();
    // 2.0.0 reads what is there, and brings it along when it writes.
    node.publish_with("2.0.0", 1, "index=4 index-reads=3", index(4, &[3]));
    assert_eq!(node.run().name(), "Committed");
    let migrated = |node: &Node| node.records().iter().any(|r| r.why.contains("index goes"));
    assert!(!migrated(&node), "nothing is run where the new version reads the old schema");
    assert_eq!(index_of(&node), "3");
    assert_eq!(node.current().held.values().flatten().collect::<Vec<_>>(), [&3]);
    clients::put(node.address, "brings it along").unwrap();
    assert_eq!(index_of(&node), "4");
    // 3.0.0 reads 4 as well, writes 5, and turns out to be sick: the way back is a migration, for 2.0.0 does not know 5.
    node.publish_with("3.0.0", 1, "index=5 index-reads=4 late-live", index(5, &[3, 4]));
    let writer = Clients::start(node.address, 1);
    let undone = node.rolled_back();
    assert_eq!((undone.kept_aside, undone.stuck), (None, None));
    assert!(writer.stop().0.iter().all(|word| node.words().contains(word)));
    assert_eq!(index_of(&node), "4");
    supervisor.terminate();
}

pub(crate) fn a_snapshot_is_opened_before_it_counts() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    clients::put(node.address, "before").unwrap();
    node.publish("2.0.0", 2, "");
    assert_eq!(node.run().name(), "Committed");
    let opened = snapshot::manifest(&node.home, 1).unwrap().opened.unwrap();
    assert_eq!(opened.by.to_string(), "1.0.0");
    // This one runs, and cannot open a copy of what it has written by now.
    node.publish("3.0.0", 2, "opens-no-copy");
    assert_eq!(node.run().name(), "Committed");
    let pid = node.status().pid;
    node.publish("4.0.0", 2, "");
    std::fs::write(node.home.state(1).join("unreadable"), "").unwrap();
    let undone = node.rolled_back();
    assert!(undone.reason.contains("cannot open a copy of its own state"), "{}", undone.reason);
    assert!(
        undone.reason.contains("3.0.0") && undone.reason.contains("it is unreadable"),
        "{}",
        undone.reason
    );
    assert_eq!(node.status().pid, pid, "the old version was not even stopped");
    supervisor.terminate();
}

pub(crate) fn secrets_stay_out_of_the_shadow() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    let keys = |identity: bool| {
        let mut more =
            json!({ "areas": { "keys": { "schema": 1, "secret": true, "paths": ["key"] } } });
        if identity {
            more["identity"] = json!(["bin/node", "identity", "{state}"]);
        }
        more
    };
    std::fs::write(node.home.state(1).join("key"), "REAL").unwrap();
    node.publish_with("1.5.0", 1, "needs-key", keys(false));
    assert_eq!(node.run().name(), "Idle", "it needs a key, and the shadow has none");
    node.publish_with("2.0.0", 1, "needs-key", keys(true));
    assert_eq!(node.run().name(), "Committed", "{:#?}", node.records());
    let key = std::fs::read_to_string(node.home.state(1).join("key")).unwrap();
    assert_eq!(key, "REAL", "what was made up stays in the copy");
    let current = node.current();
    let secrets = Secrets::of(&current);
    assert!(secrets.cover("key".as_ref()) && !secrets.cover("words".as_ref()));
    // The local snapshot is the way back, so it has them; the next shadow and the next opening do not.
    node.publish_with("3.0.0", 1, "needs-key", keys(true));
    assert_eq!(node.run().name(), "Committed", "{:#?}", node.records());
    let snapshot = node.home.snapshot(current.number).join("tree/key");
    assert_eq!(std::fs::read_to_string(snapshot).unwrap(), "REAL");
    let artifact: Sha256 = node.current().binary;
    let report = std::fs::read_to_string(node.home.report(&artifact)).unwrap();
    assert!(report.contains("left_out") && !report.contains("REAL"), "{report}");
    supervisor.terminate();
}
