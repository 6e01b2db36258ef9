//! What a snapshot holds, gives back, and how long it is kept.

use std::time::Duration;

use super::*;
use crate::state::Rung;

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(dir.path()).unwrap();
    fs::create_dir(home.state(1)).unwrap();
    fs::create_dir(home.state(1).join("inner")).unwrap();
    fs::write(home.state(1).join("inner/file"), "precious").unwrap();
    fs::set_permissions(home.state(1).join("inner"), Permissions::from_mode(0o550)).unwrap();
    (dir, home)
}

#[test]
fn a_snapshot_comes_back_as_it_was_and_a_damaged_one_is_refused() {
    let (_dir, home) = home();
    complete(&home, 1, 1, 0, None, None).unwrap();
    assert_eq!(restore(&home, 1, 0).unwrap(), 2);
    let inner = home.state(2).join("inner");
    assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o550);
    assert_eq!(fs::read(inner.join("file")).unwrap(), b"precious");

    complete(&home, 1, 1, 0, None, None).unwrap();
    fs::write(home.snapshot(1).join("tree/inner/file"), "falsified").unwrap();
    assert!(matches!(restore(&home, 1, 0), Err(StateError::Different(_))));
    assert!(!home.state(3).exists());
    assert!(matches!(restore(&home, 7, 0), Err(StateError::NoSnapshot(7))));
}

#[test]
fn a_complete_snapshot_is_kept_aside_while_a_migration_is_unfinished() {
    let (_dir, home) = home();
    complete(&home, 1, 1, 0, None, None).unwrap();
    marker::set(&home, 1, &"2.0.0".parse().unwrap()).unwrap();
    fs::write(home.state(1).join("new"), "schema 2").unwrap();
    for _ in 0..2 {
        complete(&home, 1, 1, 0, None, None).unwrap();
    }
    let eager = Keep { newest: 1, age: Some(Duration::ZERO) };
    prune(&home, eager, Timestamp::now()).unwrap();
    let good = home.snapshots().join("aside-1.1/tree");
    assert_eq!(fs::read(good.join("inner/file")).unwrap(), b"precious");
    assert!(!good.join("new").exists() && home.snapshots().join("aside-1.2/tree/new").exists());
    assert!(home.snapshot(1).join("tree/new").exists());
}

#[test]
fn snapshots_are_kept_by_number_and_by_age_and_the_newest_whatever_its_age() {
    let (_dir, home) = home();
    let left = || {
        let mut left: Vec<_> = fs::read_dir(home.snapshots())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        left
    };
    for number in 1..=5 {
        complete(&home, number, 1, 0, None, None).unwrap();
    }
    // Two were moved aside in the trouble of long ago.
    for name in ["aside-2.1", "aside-2.2"] {
        let copied = std::process::Command::new("cp")
            .args([std::ffi::OsStr::new("-a"), home.snapshot(5).as_os_str()])
            .arg(home.snapshots().join(name))
            .status();
        assert!(copied.unwrap().success());
    }
    drop(ahead(&home, 6, 1, 0).unwrap());
    let now = Timestamp::now();
    let keep = |newest| Keep { newest, age: Some(Duration::from_hours(24)) };
    prune(&home, keep(3), now).unwrap();
    assert_eq!(left(), ["3", "4", "5", "aside-2.1", "aside-2.2"], "asides go by age alone");
    marker::set(&home, 1, &"2.0.0".parse().unwrap()).unwrap();
    let later = now + Duration::from_hours(25);
    prune(&home, keep(1), later).unwrap();
    assert_eq!(left().len(), 5, "nothing while a migration is unfinished");
    marker::clear(&home).unwrap();
    prune(&home, Keep { newest: 2, age: None }, later).unwrap();
    assert_eq!(left(), ["4", "5", "aside-2.1", "aside-2.2"]);
    prune(&home, keep(3), later).unwrap();
    assert_eq!(left(), ["5"]);
    assert_eq!(fs::read(home.state(1).join("inner/file")).unwrap(), b"precious");
}

#[test]
fn a_snapshot_that_cannot_be_opened_does_not_count() {
    let (_dir, home) = home();
    let opened = || Opened { by: "1.0.0".parse().unwrap(), ready_after_ms: 7 };
    complete(
        &home,
        1,
        1,
        0,
        None,
        Some(&mut |tree| {
            assert_eq!(fs::read(tree.join("inner/file")).unwrap(), b"precious");
            Ok(opened())
        }),
    )
    .unwrap();
    let first = manifest(&home, 1).unwrap();
    assert_eq!(first.opened, Some(opened()));
    assert!(matches!(first.rung, Some(Rung::Passes | Rung::Reflink)));
    let mode = fs::metadata(home.snapshot(1).join("manifest.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let refused = complete(
        &home,
        1,
        1,
        0,
        None,
        Some(&mut |_| {
            let reason = "it was not ready".to_owned();
            Err(StateError::NotOpened { version: "1.0.0".parse().unwrap(), reason })
        }),
    );
    assert!(matches!(refused, Err(StateError::NotOpened { .. })));
    assert_eq!(manifest(&home, 1).unwrap(), first, "what counted before still does");
}

#[test]
fn a_manifest_of_a_later_format_is_refused_by_name_and_an_older_one_is_read() {
    let (_dir, home) = home();
    complete(&home, 1, 1, 0, None, None).unwrap();
    let path = home.snapshot(1).join("manifest.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["format"] = 9.into();
    fs::write(&path, json.to_string()).unwrap();
    assert!(restore(&home, 1, 0).unwrap_err().to_string().contains("format 9"));
    json["format"] = 1.into();
    json.as_object_mut().unwrap().retain(|key, _| !["rung", "opened"].contains(&key.as_str()));
    fs::write(&path, json.to_string()).unwrap();
    assert_eq!(restore(&home, 1, 0).unwrap(), 2);
}
