//! A copy brought onto a node that was just installed.

use std::collections::BTreeMap;
use std::fs;

use countersign_metadata::Product;
use countersign_updater::generation::{Generation, Launch, switch_to};
use countersign_updater::policy::{self, Facts};
use countersign_updater::state::snapshot;
use countersign_updater::{Config, durable, fetch, stage, trust_store};
use jiff::Timestamp;
use serde_json::json;

use crate::directory::Disk;
use crate::fixture::{PRODUCT, Repository};
use crate::node::{Node, config, dress, files};

/// Version 2 has two areas to migrate: each command says so in the state, in whatever order they run.
const MIGRATE: &str = "#!/bin/sh\nset -e\necho \"$2->$3\" > \"$1/migrated-$4\"\n";

fn publish(repository: &mut Repository, version: &str, schema: u32) {
    let area = |name: &str| json!({ "schema": schema, "migrate": ["bin/migrate", "{state}", "{from}", "{to}", name] });
    let node = json!({
        "command": ["bin/node", "{state}"],
        "areas": { "values": area("values"), "index": area("index") },
    });
    let files = [("bin/node*", version), ("bin/migrate*", MIGRATE)];
    repository.add(version, &files, json!({ "node": node }));
}

/// What `countersign-updater install` does, as far as a restoration depends on it.
fn install(repository: &Repository, version: &str, lines: &str) -> Node {
    let node = Node::bare(&config(PRODUCT, &repository.url(), lines));
    let root = fs::read(repository.root_file()).unwrap();
    durable::write(&node.home.pinned_root(), &root).unwrap();
    let config = Config::load(&node.home).unwrap();
    let now = Timestamp::now();
    let refreshed = trust_store::refresh(&node.home, &config, now).unwrap();
    let version = version.parse().unwrap();
    let facts = Facts::of_new(&refreshed.reproduced, Some(&version));
    let plain = Config { policy: policy_without_skips(&config), ..config.clone() };
    let approved = policy::choose(&plain, &refreshed.releases, facts).approved.unwrap();
    let fetched = fetch::fetch(&node.home, &config, approved, &mut |_| {}).unwrap();
    let staged = stage::stage(&node.home, fetched).unwrap();
    let release = staged.release();
    let spec = release.node.clone().unwrap();
    fs::create_dir(node.home.state(1)).unwrap();
    let generation = Generation {
        number: 1,
        product: PRODUCT.parse::<Product>().unwrap(),
        version: release.version.clone(),
        binary: *staged.identity(),
        state: 1,
        areas: spec.areas.iter().map(|(area, spec)| (area.clone(), spec.schema)).collect(),
        held: Default::default(),
        protocol: None,
        launch: Launch::new(&spec, &config.listen),
    };
    generation.write(&node.home).unwrap();
    switch_to(&node.home, 1).unwrap();
    node
}

fn policy_without_skips(config: &Config) -> countersign_updater::config::Policy {
    countersign_updater::config::Policy {
        skip: std::collections::BTreeSet::new(),
        ..config.policy.clone()
    }
}

/// A repository with two versions, and a node of the first whose snapshot is in the store.
fn saved(disk: &Disk) -> (Repository, Node) {
    let mut repository = Repository::new();
    publish(&mut repository, "1.0.0", 1);
    repository.publish(2);
    let node = install(&repository, "1.0.0", &disk.lines());
    node.fill();
    snapshot::complete(&node.home, 1, 1, 0, None, None).unwrap();
    node.good(&["init"]);
    node.good(&["now"]);
    publish(&mut repository, "2.0.0", 2);
    repository.publish(2);
    (repository, node)
}

fn current(node: &Node) -> Generation {
    Generation::current(&node.home).unwrap().unwrap()
}

#[test]
fn an_empty_node_gets_the_state_at_its_schema_and_the_version_that_wrote_it() {
    let disk = Disk::new();
    let (repository, first) = saved(&disk);
    let node = install(&repository, "2.0.0", &disk.lines());
    let restored = node.good(&["restore"]);
    assert_eq!((&restored["data"], &restored["generation"]), (&json!(2), &json!(2)));
    let now = current(&node);
    assert_eq!((now.version.to_string(), now.state), ("1.0.0".to_owned(), 2));
    assert_eq!(now.binary, current(&first).binary);
    assert!(now.areas.values().all(|schema| *schema == 1));
    assert!(now.tree(&node.home).join("bin/node").exists(), "it is staged here");
    assert_eq!(files(&node.home.state(2)), files(&first.home.state(1)));
    assert_eq!(dress(&node.home.state(2)), dress(&first.home.state(1)));
    assert!(fs::read_dir(node.home.state(1)).unwrap().next().is_none(), "what was there stays");

    // The updater takes it from there: the newer version is a release like any other.
    let config = Config::load(&node.home).unwrap();
    let refreshed = trust_store::refresh(&node.home, &config, Timestamp::now()).unwrap();
    let facts = Facts { running: Some(&now), ..Facts::of_new(&refreshed.reproduced, None) };
    let approved = policy::choose(&config, &refreshed.releases, facts).approved.unwrap();
    assert_eq!(approved.release().version.to_string(), "2.0.0");

    // The store is still the first node's.
    assert_eq!(
        node.good(&["status"])["length"],
        0,
        "what came from the store does not wait for it"
    );
    assert_eq!(node.run(&["now"]).code, 1);
    // And what is there now is not replaced by another copy.
    let run = node.run(&["restore"]);
    assert_eq!(run.code, 1, "{}", run.json);
    let state = node.home.state(2);
    assert!(run.error().contains(&format!("{} is not empty", state.display())), "{}", run.error());
    assert!(!node.home.state(3).exists());
}

#[test]
fn a_version_that_cannot_be_had_gives_way_to_the_installed_one_which_migrates() {
    let disk = Disk::new();
    let (repository, first) = saved(&disk);
    let skips = format!("{}\n[policy]\nskip = [\"1.0.0\"]\n", disk.lines());
    let node = install(&repository, "2.0.0", &skips);
    let restored = node.good(&["restore"]);
    assert_eq!(restored["migrated"].as_array().unwrap().len(), 2, "{restored}");
    let now = current(&node);
    assert_eq!((now.version.to_string(), now.state), ("2.0.0".to_owned(), 2));
    let mut wanted = files(&first.home.state(1));
    for area in ["values", "index"] {
        wanted.insert(format!("migrated-{area}").into(), b"1->2\n".to_vec());
    }
    assert_eq!(files(&node.home.state(2)), wanted);

    // Without migrations on the way, nothing is made up.
    let node = install(&repository, "1.0.0", &disk.lines());
    node.fill();
    let older = Disk::new();
    let newer = install(&repository, "2.0.0", &older.lines());
    newer.fill();
    snapshot::complete(&newer.home, 1, 1, 0, None, None).unwrap();
    newer.good(&["init"]);
    newer.good(&["now"]);
    let skips = format!("{}\n[policy]\nskip = [\"2.0.0\"]\n", older.lines());
    let node = install(&repository, "1.0.0", &skips);
    let run = node.run(&["restore"]);
    assert_eq!(run.code, 1, "{}", run.json);
    assert!(run.error().contains("version 2.0.0, which the state belongs to"), "{}", run.error());
    assert_eq!(current(&node).number, 1);
    assert!(!node.home.state(2).exists());
}

#[test]
fn an_empty_store_is_refused_unless_it_is_said() {
    let disk = Disk::new();
    let mut repository = Repository::new();
    publish(&mut repository, "1.0.0", 1);
    repository.publish(2);
    let node = install(&repository, "1.0.0", &disk.lines());
    let run = node.run(&["restore", "--allow-empty"]);
    assert_eq!(run.code, 3, "no repository at all is never an empty one: {}", run.json);
    node.good(&["init"]);
    let run = node.run(&["restore"]);
    assert_eq!(run.code, 1, "{}", run.json);
    assert!(run.error().contains("no snapshot in"), "{}", run.error());
    assert!(node.good(&["restore", "--allow-empty"])["restored"].is_null());
    assert_eq!(current(&node).number, 1);
    fs::write(node.home.state(1).join("something"), "").unwrap();
    assert_eq!(node.run(&["restore", "--allow-empty"]).code, 1);
}

#[test]
fn a_damaged_copy_changes_nothing_and_a_restoration_can_be_begun_again() {
    let disk = Disk::new();
    let (repository, first) = saved(&disk);
    let node = install(&repository, "1.0.0", &disk.lines());
    let packs = files(&disk.path().join("data"));
    let (path, bytes) = packs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let pack = disk.path().join("data").join(path);
    for damaged in [bytes[..bytes.len() / 3].to_vec(), Vec::new()] {
        fs::write(&pack, damaged).unwrap();
        let run = node.run(&["restore"]);
        assert_eq!(run.code, 6, "{}", run.json);
        let id = path.file_name().unwrap().to_str().unwrap();
        assert!(run.error().contains(id), "the pack is named: {}", run.error());
        assert_eq!(current(&node).number, 1);
        assert!(!node.home.state(2).exists() && !node.home.snapshot(2).exists());
    }
    fs::write(&pack, bytes).unwrap();
    node.good(&["restore", "--copy", "latest"]);
    assert_eq!(files(&node.home.state(2)), files(&first.home.state(1)));
    let run = node.run(&["restore", "--copy", "ffffffff"]);
    assert_ne!(run.code, 0);
}

#[test]
fn a_node_that_is_at_work_is_not_restored_onto() {
    let disk = Disk::new();
    let (repository, _first) = saved(&disk);
    let node = install(&repository, "1.0.0", &disk.lines());
    for path in [node.home.agent_lock(), node.home.state_lock()] {
        let held = durable::append_to(&path).unwrap();
        held.lock().unwrap();
        let run = node.run(&["restore"]);
        assert_eq!(run.code, 8, "{}", run.json);
        assert_eq!(current(&node).number, 1);
    }
    node.good(&["restore"]);
}

#[test]
fn a_copy_without_secrets_is_restored_only_by_who_says_so_and_says_what_is_missing() {
    let disk = Disk::new();
    let mut repository = Repository::new();
    let areas = json!({
        "values": { "schema": 1 },
        "keys": { "schema": 1, "secret": true, "paths": ["private", "inner/private"] },
    });
    let node = json!({ "node": { "command": ["bin/node", "{state}"], "areas": areas } });
    repository.add("1.0.0", &[("bin/node*", "1.0.0")], node);
    repository.publish(2);
    let lines = format!("{}secrets = false\n", disk.lines());
    let first = install(&repository, "1.0.0", &lines);
    first.fill();
    snapshot::complete(&first.home, 1, 1, 0, None, None).unwrap();
    first.good(&["init"]);
    first.good(&["now"]);

    // What the node that is restored says about its own copies is no matter.
    let node = install(&repository, "1.0.0", &disk.lines());
    let run = node.run(&["restore"]);
    assert_eq!(run.code, 1, "{}", run.json);
    assert!(run.error().contains("private, inner/private"), "{}", run.error());
    assert!(run.json["hint"].as_str().unwrap().contains("--without-secrets"), "{}", run.json);
    assert_eq!(current(&node).number, 1);
    assert!(!node.home.state(2).exists() && !node.home.snapshot(2).exists());

    let restored = node.good(&["restore", "--without-secrets"]);
    assert_eq!(restored["missing"], json!(["private", "inner/private"]));
    let mut wanted = files(&first.home.state(1));
    for secret in ["private", "inner/private"] {
        wanted.remove(std::path::Path::new(secret)).unwrap();
    }
    assert_eq!(files(&node.home.state(2)), wanted);
    assert_eq!(current(&node).state, 2);
}

#[test]
fn what_the_data_holds_of_older_schemas_is_not_forgotten() {
    let disk = Disk::new();
    let mut repository = Repository::new();
    let mut publish = |version: &str, reads: &[u32]| {
        let migrate = ["bin/migrate", "{state}", "{from}", "{to}", "values"];
        let area = json!({ "schema": 2, "reads": reads, "migrate": migrate });
        let node = json!({ "command": ["bin/node", "{state}"], "areas": { "values": area } });
        let files = [("bin/node*", version), ("bin/migrate*", MIGRATE)];
        repository.add(version, &files, json!({ "node": node }));
    };
    publish("1.0.0", &[1]);
    publish("2.0.0", &[]);
    repository.publish(2);
    let first = install(&repository, "1.0.0", &disk.lines());
    first.fill();
    // As an update leaves it that had nothing to migrate, because what it came to reads the older schema.
    let held = BTreeMap::from([("values".parse().unwrap(), [1].into())]);
    Generation { number: 2, held: held.clone(), ..current(&first) }.write(&first.home).unwrap();
    switch_to(&first.home, 2).unwrap();
    snapshot::complete(&first.home, 2, 1, 0, None, None).unwrap();
    first.good(&["init"]);
    first.good(&["now"]);

    let node = install(&repository, "2.0.0", &disk.lines());
    node.good(&["restore"]);
    assert_eq!((current(&node).version.to_string(), current(&node).held), ("1.0.0".into(), held));

    let skips = format!("{}\n[policy]\nskip = [\"1.0.0\"]\n", disk.lines());
    let node = install(&repository, "2.0.0", &skips);
    let migrated = &node.good(&["restore"])["migrated"];
    assert_eq!(*migrated, json!([{ "area": "values", "from": 1, "to": 2 }]));
    assert!(current(&node).held.is_empty());
    assert_eq!(fs::read(node.home.state(2).join("migrated-values")).unwrap(), b"1->2\n");
}
