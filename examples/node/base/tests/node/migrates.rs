//! From one schema to another and back, however often it is killed.

use std::fs;
use std::path::Path;

use crate::client::{ask, get, put, stat};
use crate::harness::{NODE, Node, Port, Scratch, first_release, refused, run};

fn migrate<'a>(area: &'a str, state: &'a Path, from: &'a str, to: &'a str) -> [&'a str; 9] {
    let state = state.to_str().unwrap();
    ["migrate", "--area", area, "--state", state, "--from", from, "--to", to]
}

fn time_of(port: &Port, key: &str) -> Option<String> {
    let answer = ask(port.address(), "GET", &format!("/kv/{key}"), b"").unwrap();
    let head = answer.head.lines().find_map(|line| line.strip_prefix("Written-At-Unix-Ms: "));
    head.map(str::to_owned)
}

#[test]
fn values_of_the_first_release_go_to_the_second_and_back_with_what_was_written_meanwhile() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let (first, state) = (first_release(), scratch.state());
    let node = Node::start(first, &state, &port);
    put(port.address(), "old", "1");
    put(port.address(), "gone", "1");
    ask(port.address(), "DELETE", "/kv/gone", b"").unwrap();
    node.stop();

    let serve = ["serve", "--state", state.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    assert!(refused(NODE, 3, &serve).contains("migrate --area values --from 1 --to 2"));
    // Areas in any order, one that needs nothing among them.
    assert!(run(NODE, &migrate("counters", &state, "1", "1")).status.success());
    for _again in 0..2 {
        assert!(run(NODE, &migrate("values", &state, "1", "2")).status.success());
    }
    let node = Node::start(NODE, &state, &port);
    put(port.address(), "new", "2");
    assert_eq!(get(port.address(), "old").as_deref(), Some("1"));
    assert_eq!(get(port.address(), "gone"), None);
    assert_eq!((time_of(&port, "old"), stat(port.address(), "records")), (None, 4));
    assert!(time_of(&port, "new").is_some());
    node.stop();

    let sentence = refused(first, 3, &serve);
    assert!(sentence.contains("examplenode 2.0.0 wrote it and can open it"), "{sentence}");
    for _again in 0..2 {
        assert!(run(NODE, &migrate("values", &state, "2", "1")).status.success());
    }
    let node = Node::start(first, &state, &port);
    assert_eq!(get(port.address(), "old").as_deref(), Some("1"));
    assert_eq!(get(port.address(), "new").as_deref(), Some("2"));
    node.stop();
}

/// Every state of the disk in which a kill can leave a migration from schema 1 to 2, made by hand from its two ends.
#[test]
fn a_migration_killed_after_any_of_its_steps_is_finished_by_running_it_again() {
    let (scratch, port) = (Scratch::new(), Port::open());
    let node = Node::start(first_release(), &scratch.path("old"), &port);
    for i in 0..20 {
        put(port.address(), &format!("key.{i}"), "value");
    }
    node.stop();
    let [old, new] = ["old", "new"].map(|name| scratch.path(name));
    copy(&old, &new);
    assert!(run(NODE, &migrate("values", &new, "1", "2")).status.success());
    let [log, log_new] = ["values/log.2", "values/log.2.new"];
    let written = fs::read(new.join(log)).unwrap();
    let half = &written[..written.len() / 2];

    type Step<'a> = (&'a str, &'a Path, &'a dyn Fn(&Path));
    let steps: [Step<'_>; 6] = [
        ("nothing", &old, &|_| {}),
        ("half of the new log", &old, &|state| fs::write(state.join(log_new), half).unwrap()),
        ("the new log, not renamed", &old, &|state| {
            fs::write(state.join(log_new), &written).unwrap();
        }),
        ("the new log", &old, &|state| fs::write(state.join(log), &written).unwrap()),
        ("half of the new SCHEMA", &old, &|state| {
            fs::write(state.join(log), &written).unwrap();
            fs::write(state.join("values/SCHEMA.new"), "2 writ").unwrap();
        }),
        ("all but the old log's end", &new, &|state| {
            fs::copy(old.join("values/log.1"), state.join("values/log.1")).map(drop).unwrap();
        }),
    ];
    for (what, from, prepare) in steps {
        let state = scratch.path("state");
        copy(from, &state);
        prepare(&state);
        assert!(run(NODE, &migrate("values", &state, "1", "2")).status.success(), "{what}");
        assert_eq!(fs::read(state.join(log)).unwrap(), written, "{what}");
        assert!(!state.join("values/log.1").exists(), "{what}");
        let node = Node::start(NODE, &state, &port);
        assert_eq!(stat(port.address(), "keys"), 20, "{what}");
        node.stop();
        fs::remove_dir_all(&state).unwrap();
    }
}

#[test]
fn a_migration_from_or_to_a_schema_that_is_not_there_is_refused_and_changes_nothing() {
    let (scratch, port) = (Scratch::new(), Port::open());
    Node::start(NODE, &scratch.state(), &port).stop();
    let state = scratch.state();
    assert!(refused(NODE, 3, &migrate("values", &state, "2", "3")).contains("not 3"));
    assert!(refused(NODE, 3, &migrate("values", &state, "0", "1")).contains("not 0"));
    let first = refused(first_release(), 3, &migrate("values", &state, "1", "2"));
    assert!(first.contains("examplenode 2.0.0 wrote it"), "{first}");
    assert!(run(NODE, &migrate("values", &state, "2", "1")).status.success());
    let sentence = refused(NODE, 3, &migrate("values", &scratch.path("state"), "2", "2"));
    assert!(sentence.contains("has schema 1, not 2"), "{sentence}");
}

fn copy(from: &Path, to: &Path) {
    for area in ["values", "counters"] {
        fs::create_dir_all(to.join(area)).unwrap();
        for entry in fs::read_dir(from.join(area)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(area).join(entry.file_name())).unwrap();
        }
    }
}
