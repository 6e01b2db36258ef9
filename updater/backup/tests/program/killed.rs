//! An upload that is killed, at several points.

use std::fs;
use std::time::{Duration, Instant};

use countersign_backup::owner;
use countersign_backup::store::Directory;
use serde_json::json;

use crate::directory::Disk;
use crate::node::{Node, files};

const MEBIBYTES: usize = 112;

#[test]
fn an_upload_killed_at_several_points_is_completed_and_what_was_sent_is_used() {
    let disk = Disk::new();
    let node = Node::new(&disk.lines());
    node.fill();
    node.random("noise", MEBIBYTES);
    node.snapshot(1);
    node.good(&["init"]);
    let packs = || files(&disk.path().join("data")).len();
    let marker = || fs::read(disk.path().join("countersign-owner.json")).unwrap();
    let mut cuts = 0;
    // At once; when the session began; when one more pack had arrived, again and again.
    for point in 0..4 {
        let (before, owner) = (if packs_dir(&disk) { packs() } else { 0 }, marker());
        let mut child = node.start(&["now"]);
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let reached = match point {
                0 => true,
                1 => marker() != owner,
                _ => packs_dir(&disk) && packs() > before,
            };
            if reached || child.try_wait().unwrap().is_some() {
                break;
            }
            assert!(Instant::now() < deadline, "point {point} never came");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        cuts += usize::from(child.wait().unwrap().code().is_none());
        disk.restic(&["check"]);
        assert_eq!(node.good(&["status"])["length"], 1);
        assert_eq!(
            node.good(&["list"])["copies"],
            json!([]),
            "nothing is named before it is whole"
        );
    }
    assert_eq!(cuts, 4, "an upload was done before it could be cut off");
    assert!(packs() >= 2);
    node.good(&["now"]);
    assert_eq!(node.waiting(), 0);
    disk.restic(&["check", "--read-data"]);
    let to = disk.path().with_file_name("restored");
    disk.restic(&["restore", "latest", "--target", to.to_str().unwrap()]);
    assert_eq!(files(&to.join("tree")), files(&node.home.snapshot(1).join("tree")));
    let sent = disk.size() >> 20;
    assert!(sent < MEBIBYTES + 40, "{sent} MiB for {MEBIBYTES}: what was sent before was lost");
}

fn packs_dir(disk: &Disk) -> bool {
    disk.path().join("data").is_dir()
}

#[test]
fn whoever_is_taken_over_from_in_the_middle_of_an_upload_names_nothing() {
    let disk = Disk::new();
    let (first, second) = (Node::new(&disk.lines()), Node::new(&disk.lines()));
    first.fill();
    first.random("noise", MEBIBYTES);
    first.snapshot(1);
    first.good(&["init"]);
    let mut child = first.start(&["now"]);
    let deadline = Instant::now() + Duration::from_secs(120);
    while !packs_dir(&disk) || files(&disk.path().join("data")).is_empty() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    // As `takeover` does once it has opened the repository, which takes longer than the rest of this upload.
    owner::take(&second.home, &Directory::new(&disk.path())).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "it says that it was taken over from");
    assert_eq!(first.waiting(), 1);
    assert_eq!(second.good(&["list"])["copies"], json!([]));
    second.fill();
    second.snapshot(1);
    second.good(&["now"]);
    disk.restic(&["check", "--read-data"]);
}
