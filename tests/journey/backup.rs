//! A node whose machine is lost: the agent has brought its snapshot off the machine, and another node goes on from it.

use std::fs;
use std::path::Path;

use countersign_tests::client::http_load;
use countersign_tests::site::{Installed, Site};
use countersign_tests::world::{World, text};
use countersign_tests::{programs, wait};
use serde_json::Value;

/// Writes `[backup]` into a node's configuration, to a store beside it.
fn configure(world: &World, node: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let (store, password) = (world.at("store"), world.at("backup.password"));
    let _there_already = fs::create_dir(&store);
    fs::write(&password, "a long password\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let file = node.join("countersign-updater.toml");
    let lines = format!(
        "\n[backup]\nto = \"{}\"\npassword-file = \"{}\"\n",
        store.display(),
        password.display()
    );
    fs::write(&file, fs::read_to_string(&file).unwrap() + &lines).unwrap();
}

fn waiting(node: &Path) -> Option<usize> {
    let queue: Value = serde_json::from_slice(&fs::read(node.join("backup.json")).ok()?).ok()?;
    Some(queue["waiting"].as_array()?.len())
}

#[test]
fn a_lost_node_goes_on_elsewhere_at_its_schema_and_is_updated_as_usual() {
    let world = World::new();
    world.release("1.0.0");
    world.release("2.0.0");
    let install = |version| Installed::new(world.url(), &world.root(), version, "0s..1s", "1s");

    let lost = install("1.0.0");
    configure(&world, &lost.node());
    programs::must("countersign-backup", ["init", &text(&lost.node())]);
    let lost = lost.start();
    let client = lost.client(50);
    wait::until("something is written", || (client.acknowledged() > 20).then_some(()));
    let record = lost.settle(client);
    let said = lost.run();
    assert_eq!(said.exit, 0, "{}{}", said.out, said.err);
    assert_eq!(lost.version().as_deref(), Some("2.0.0"));
    wait::until("the agent's upload is done", || (waiting(&lost.node()) == Some(0)).then_some(()));
    drop::<Site>(lost);

    let found = install("2.0.0");
    configure(&world, &found.node());
    let said = programs::must("countersign-backup", ["restore", &text(&found.node())]);
    assert!(said.out.contains("runs version 1.0.0"), "{}", said.out);
    let found = found.start();
    assert_eq!(found.version().as_deref(), Some("1.0.0"), "at the schema that was saved");
    assert!(http_load::read_back(found.address(), &record).unwrap().is_none());
    let said = found.run();
    assert_eq!(said.exit, 0, "{}{}", said.out, said.err);
    assert_eq!(found.version().as_deref(), Some("2.0.0"), "migrated as by any update");
    assert!(http_load::read_back(found.address(), &record).unwrap().is_none());
    // The store is the lost node's until somebody says otherwise.
    let said = programs::run("countersign-backup", ["now", &text(&found.node())]);
    assert_eq!(said.exit, 1, "{}{}", said.out, said.err);
    programs::must("countersign-backup", ["takeover", &text(&found.node())]);
    programs::must("countersign-backup", ["now", &text(&found.node())]);
}
