//! State is sacred: every place in the updater that removes a file or a directory, and why it cannot be a node's data.
//!
//! A removal that is not listed here fails the test. Before you add a line: the path must be made of a directory that holds
//! no data (never `Home::state` or `Home::states`), and the line says which.

use std::path::Path;

use crate::{rust_files, top};

/// File below `updater/src`, how many removals it has, and what they remove.
const ARGUED: &[(&str, usize, &str)] = &[
    (
        "../backup/src/restore.rs",
        1,
        "snapshots/partial-N: the copied description of a generation, just written there",
    ),
    (
        "../backup/src/store/directory.rs",
        2,
        "the store: its objects, and what was never named there",
    ),
    ("agent/apply.rs", 1, "run/apply.json: the operator's request, once it was taken up"),
    (
        "bin/countersign-updater/install.rs",
        1,
        "trust/: what an install that did not finish has fetched",
    ),
    ("agent/orders.rs", 2, "run/order-N.json and run/rollback.json: requests that were taken up"),
    ("durable.rs", 2, "the temporary file that the same function has just made"),
    (
        "fetch/partial.rs",
        1,
        "store/: a download that is not what was signed, and what is known about it",
    ),
    ("home.rs", 1, ".install-unfinished"),
    ("selfupdate/place.rs", 1, "updater/: the link `current` and attempt.json"),
    ("shadow/mirror/tap.rs", 2, "run/mirror.sock"),
    ("shadow/room.rs", 1, "shadow/: a socket in the copy that the release tries itself on"),
    ("shelf.rs", 1, "cache/: artifacts as they were downloaded, kept for other nodes"),
    ("stage.rs", 1, "store/: what was unpacked and never named"),
    ("state/scratch.rs", 2, "shadow/ and snapshots/: copies, each path checked to lie below them"),
    ("supervise/core.rs", 1, "run/notify-N"),
    ("supervise/log.rs", 1, "log/: the older of the node's two logs"),
    ("supervise/notify.rs", 2, "run/notify-N"),
    ("supervise/replace.rs", 1, "run/hand-over.json"),
    ("supervise/server.rs", 2, "run/supervisor.sock"),
    ("swap/marker.rs", 1, "migrating.json"),
    ("trust_store.rs", 1, "trust/: hash bins that this node keeps no more"),
];

const CALLS: [&str; 6] =
    ["fs::remove_file", "fs::remove_dir", "unlink(", "unlinkat(", "rmdir(", "\"rm\""];

/// Removals of a file outside its tests.
fn removals(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.map(|line| CALLS.iter().map(|call| line.matches(call).count()).sum::<usize>()).sum()
}

#[test]
fn every_removal_in_the_updater_is_argued_and_none_can_reach_data() {
    let sources = top().join("updater/src");
    let mut files = Vec::new();
    rust_files(&sources, &mut files);
    rust_files(&top().join("updater/backup/src"), &mut files);
    assert!(files.len() > 50);
    let mut found = std::collections::BTreeMap::new();
    for file in files {
        let name = match file.strip_prefix(&sources) {
            Ok(name) => name.to_string_lossy().into_owned(),
            Err(_) => {
                let beside = file.strip_prefix(top().join("updater")).unwrap();
                format!("../{}", beside.display())
            }
        };
        let only_tests =
            name.ends_with("tests.rs") || name.contains("tests/") || name.starts_with("fixture/");
        let removals = removals(&file);
        if removals > 0 && !only_tests {
            found.insert(name, removals);
        }
    }
    for (file, count, reason) in ARGUED {
        let removals = found.remove(*file).unwrap_or(0);
        assert_eq!(
            removals, *count,
            "updater/src/{file}: say in tests/walls/removals.rs why each may ({reason})"
        );
    }
    assert!(found.is_empty(), "not argued in tests/walls/removals.rs: {found:?}");
}
