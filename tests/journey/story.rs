//! The story of `./demo`, as one test that can be read.

use countersign_tests::programs::{must, run};
use countersign_tests::site::Site;
use countersign_tests::wait;
use countersign_tests::world::{PRODUCT, World, serve, text};

#[test]
fn a_node_is_updated_from_source_and_refuses_whatever_is_not_right() {
    let world = World::new();
    planted_dates_diverge(&world);

    // A node is installed from nothing but the address and the root file.
    world.release("1.0.0");
    let site = Site::install(world.url(), &world.root(), "1.0.0", "0s..1s", "4s");
    assert_eq!(site.version().as_deref(), Some("1.0.0"));

    // Version 2 brings a migration. The client that writes all the while sees no failed request.
    world.release("2.0.0");
    let client = site.client(300);
    let said = site.run();
    assert_eq!(said.exit, 0, "{}{}", said.out, said.err);
    assert_eq!(site.version().as_deref(), Some("2.0.0"), "{}{}", said.out, said.err);
    let record = site.settle(client);
    assert_eq!(record.failed().count(), 0, "{:?}", record.failed().next());
    assert!(record.rate() >= 200.0, "only {} requests a second", record.rate());
    assert!(report(&site, "2.0.0")["attempts"].as_array().unwrap().is_empty());

    // Version 3 phones home, and is refused with what it tried to reach.
    world.release("3.0.0");
    let said = site.run();
    assert_eq!(site.version().as_deref(), Some("2.0.0"), "{}{}", said.out, said.err);
    let attempts = report(&site, "3.0.0")["attempts"].to_string();
    for wanted in ["telemetry.example.net", "203.0.113.7", "198.51.100.9"] {
        assert!(attempts.contains(wanted), "{wanted} is not in {attempts}");
    }

    // Version 4 crashes after the swap, and is rolled back with every write that it acknowledged.
    world.release("4.0.0");
    let client = site.client(200);
    let said = site.run();
    wait::until("version 2 answers again", || site.version().filter(|v| v == "2.0.0"));
    assert!(said.mentions("4.0.0"), "{}{}", said.out, said.err);
    site.settle(client);
    let history = must("countersign-updater", ["history", &text(&site.node())]).out;
    assert!(history.contains("RolledBack") || history.contains("rolled"), "{history}");

    one_signature_is_not_enough(&world);
    a_flipped_byte_is_noticed(&world);
    a_stranger_needs_nothing_but_the_address_and_the_root(&world);
}

/// What the shadow reported about a version.
fn report(site: &Site, version: &str) -> serde_json::Value {
    let reports = std::fs::read_dir(site.node().join("reports")).unwrap();
    let reports = reports.map(|r| std::fs::read(r.unwrap().path()).unwrap());
    let mut reports = reports.map(|r| serde_json::from_slice::<serde_json::Value>(&r).unwrap());
    reports.find(|r| r["version"] == version).expect("a report about that version")
}

fn planted_dates_diverge(world: &World) {
    let source = text(&world.source("planted"));
    let check = run("countersign-builder", ["check", &source, "--vary", "path,time", "--json"]);
    assert_eq!(check.exit, 1, "{}{}", check.out, check.err);
    assert!(check.out.contains("time"), "{}", check.out);
}

fn one_signature_is_not_enough(world: &World) {
    world.build("5.0.0");
    let draft = world.draft("5.0.0");
    world.vouch("alice", &draft, "path,user");
    let publish = ["publish", "--repo", &world.repo(), &draft, "--signer", &world.signer("online")];
    let refused = run("countersign-metadata", publish);
    assert_eq!(refused.exit, 1, "{}{}", refused.out, refused.err);

    // A publisher who forces it out all the same meets the node's own check.
    let forced = world.at("forced");
    must("cp", ["-r", &text(&world.at("repo/public")), &text(&forced)]);
    must(
        "hostile-publisher",
        [
            &text(&world.at(&format!("repo/drafts/{draft}"))),
            &text(&forced),
            PRODUCT,
            &world.signer("online"),
        ],
    );
    let (mut server, url) = serve(&forced);
    let refused = run(
        "countersign-updater",
        [
            "install",
            &text(&world.at("forced-node")),
            "--repository",
            &url,
            "--root",
            &text(&world.root()),
            "--product",
            PRODUCT,
        ],
    );
    server.kill().and_then(|()| server.wait()).unwrap();
    assert_eq!(refused.exit, 6, "{}{}", refused.out, refused.err);
    assert!(refused.mentions("1 of the 2"), "{}{}", refused.out, refused.err);
}

fn a_flipped_byte_is_noticed(world: &World) {
    let mirror = world.at("flipped");
    must("cp", ["-r", &text(&world.at("repo/public")), &text(&mirror)]);
    let targets = mirror.join(format!("targets/{PRODUCT}/2.0.0"));
    let artifact = std::fs::read_dir(targets).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&artifact).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&artifact, bytes).unwrap();
    let (mut server, url) = serve(&mirror);
    let refused = run(
        "countersign-updater",
        [
            "install",
            &text(&world.at("second-node")),
            "--repository",
            &url,
            "--root",
            &text(&world.root()),
            "--product",
            PRODUCT,
            "--version",
            "2.0.0",
        ],
    );
    server.kill().and_then(|()| server.wait()).unwrap();
    assert_eq!(refused.exit, 6, "{}{}", refused.out, refused.err);
}

fn a_stranger_needs_nothing_but_the_address_and_the_root(world: &World) {
    let home = world.at("stranger");
    let at = |path: &str| text(&home.join(path));
    std::fs::create_dir(&home).unwrap();
    must("countersign-keys", ["generate", "stranger", "--no-password", "--dir", &at("")]);
    let signer = format!(
        "{} sign --yes --key {}",
        text(&countersign_tests::programs::path("countersign-keys")),
        at("stranger.key")
    );
    must(
        "countersign-builder",
        [
            "rebuild",
            "--repository",
            world.url(),
            "--root",
            &text(&world.root()),
            "--product",
            PRODUCT,
            "--version",
            "2.0.0",
            "--vary",
            "path,user,hostname,time,cpus",
            "-o",
            &at("rebuilt"),
            "--identity-file",
            &at("stranger.pub"),
            "--signer",
            &signer,
        ],
    );
    must(
        "countersign-metadata",
        ["attest", "--repo", &world.repo(), &at("rebuilt/verdict.dsse.json")],
    );

    let targets = world.at(&format!("repo/public/targets/{PRODUCT}/2.0.0"));
    let artifact = std::fs::read_dir(targets).unwrap().next().unwrap().unwrap().path();
    let verify = |json: &[&str]| {
        let mut args =
            vec!["verify".to_owned(), text(&artifact), "--repository".into(), world.url().into()];
        args.extend(["--root".into(), text(&world.root()), "--product".into(), PRODUCT.into()]);
        args.extend(json.iter().map(|a| (*a).to_owned()));
        must("countersign-updater", &args)
    };
    let told = verify(&[]);
    let stranger = must("countersign-keys", ["show", &at("stranger.pub"), "--json"]).out;
    let stranger: serde_json::Value = serde_json::from_str(&stranger).unwrap();
    for wanted in ["2.0.0", "alice", "bob"] {
        assert!(told.out.contains(wanted), "{wanted} is not in {}", told.out);
    }
    let stranger = find_key(&stranger).expect("show prints the public key");
    assert!(verify(&["--json"]).out.contains(&stranger), "the stranger's verdict is not shown");
}

/// The first minisign public key in a JSON document.
fn find_key(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) if text.starts_with("RW") && text.len() == 56 => {
            Some(text.clone())
        }
        serde_json::Value::Array(items) => items.iter().find_map(find_key),
        serde_json::Value::Object(map) => map.values().find_map(find_key),
        _ => None,
    }
}
