//! A node that is the only mirror of another one.

use std::net::SocketAddr;
use std::path::Path;

use countersign_updater::Home;
use countersign_updater::generation::Generation;
use countersign_updater::supervise::{Client, Phase};
use serde_json::Value;

use crate::clients::until;
use crate::node::Node;
use crate::process::{Running, free, get, json, page, run};

/// `serve` of a node, and where it answers.
fn serving(home: &Home) -> (Running, SocketAddr) {
    let words = ["serve", home.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut serve = Running::start(&words);
    let said = serve.said.next().unwrap().unwrap();
    let address = said.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let address = address.parse().unwrap();
    (serve, address)
}

#[test]
fn a_node_updates_itself_from_another_node_alone_when_the_publisher_is_gone() {
    let mut a = Node::with("delay = \"0s..300ms\"\n[serve]\nkeep = 2\n");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root.json");
    std::fs::copy(a.repository.root_file(), &root).unwrap();
    let mut supervisor = a.supervise();
    a.publish("2.0.0", 1, "");
    a.repository.publish_root(2);
    assert_eq!(a.program(&["run", "--until-idle", "--poll", "50ms"]), 0);
    let (serve, address) = serving(&a.home);
    let url = format!("http://{address}/");

    let b = dir.path().join("b");
    let listen = format!("http={}", free());
    let installed = run(&[
        "install",
        "--repository",
        &url,
        "--root",
        root.to_str().unwrap(),
        "--product",
        "example",
        "--delay",
        "0s..300ms",
        "--check-every",
        "100ms",
        "--listen",
        &listen,
        b.to_str().unwrap(),
        "--json",
    ]);
    assert_eq!(json(&installed)["version"], "2.0.0");
    fast(&b);
    let b = Home::open(&b).unwrap();
    let b_path = b.path().to_str().unwrap();
    let _b_supervisor = Running::start(&["supervise", b_path]);
    let ready = Client::new(&b);
    until(|| ready.status().is_ok_and(|status| status.phase == Phase::Ready));

    // Roots on the way are handed on too: B has pinned the first one, the third is what counts.
    a.repository.publish_root(3);
    a.publish("3.0.0", 1, "");
    assert_eq!(a.program(&["run", "--until-idle", "--poll", "50ms"]), 0);
    a.hide_repository();
    // A mirror does not look at its disk for every request.
    let newest = std::fs::read(a.home.trust().join("timestamp.json")).unwrap();
    until(|| page(address, "/metadata/timestamp.json").as_bytes() == newest);
    let updated = run(&["run", "--until-idle", "--poll", "50ms", b_path]);
    assert!(updated.status.success(), "{}", String::from_utf8_lossy(&updated.stderr));
    assert_eq!(Generation::current(&b).unwrap().unwrap().version.to_string(), "3.0.0");

    // The peer that is the mirror is known by its own answer, too.
    let checked = run(&["check-peer", &url, "--node", b_path, "--json"]);
    assert_eq!(json(&checked)["standing"], "registered");
    let version: Value = serde_json::from_str(&page(address, "/node/version")).unwrap();
    assert_eq!(version["version"], "3.0.0");

    // Exactly what was downloaded, in parts too; and nothing else of the node.
    let trusted = std::fs::read(a.home.trust().join("timestamp.json")).unwrap();
    assert_eq!(page(address, "/metadata/timestamp.json").as_bytes(), trusted);
    assert_eq!(get(address, "/metadata/2.root.json", "").unwrap().0, 200);
    let cached = std::fs::read_dir(a.home.cache()).unwrap().map(|e| e.unwrap().path());
    let cached: Vec<_> = cached.collect();
    assert_eq!(cached.len(), 2);
    for file in &cached {
        let bytes = std::fs::read(file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let version = ["2.0.0", "3.0.0"].into_iter().find_map(|version| {
            let path = target(version, name);
            let answer = get(address, &path, "Range: bytes=100-\r\n")?;
            (answer.0 == 206).then_some(answer)
        });
        let (_, _, part) = version.unwrap();
        assert_eq!(part, bytes[100..]);
    }
    for hidden in ["/seed", "/root.json", "/journal.jsonl", "/cache/", "/metadata/../seed", "/"] {
        assert_eq!(get(address, hidden, "").unwrap().0, 404, "{hidden}");
    }
    // What the disk changed is not handed on.
    std::fs::remove_file(&cached[0]).unwrap();
    std::fs::write(&cached[0], vec![0; std::fs::metadata(&cached[1]).unwrap().len() as usize])
        .unwrap();
    let name = cached[0].file_name().unwrap().to_str().unwrap();
    for version in ["2.0.0", "3.0.0"] {
        assert_ne!(get(address, &target(version, name), "").unwrap().0, 200);
    }
    drop(serve);
    supervisor.terminate();
}

fn target(version: &str, digest: &str) -> String {
    let platform = countersign_metadata::Platform::here();
    format!("/targets/example/{version}/{digest}.example-{version}-{platform}.tar.zst")
}

/// Short windows, and a shadow as this machine can have it.
fn fast(node: &Path) {
    let missing = countersign_updater::doctor::memory_limit_missing().is_some();
    let memory = if missing { "none" } else { "256MiB" };
    let drop_ins = node.join("countersign-updater.d");
    std::fs::create_dir(&drop_ins).unwrap();
    let text = format!(
        "free-space = \"1MiB\"\n[shadow]\nfor = \"100ms\"\nready = \"20s\"\nmemory = \"{memory}\"\n\
         [probation]\nfor = \"500ms\"\n"
    );
    std::fs::write(drop_ins.join("10-test.toml"), text).unwrap();
}
