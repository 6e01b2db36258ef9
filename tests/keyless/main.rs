//! Keyless statements, whole: token, certificate, log, repository, node; by real programs over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../metadata/tests/sigstore/der.rs"]
mod der;
#[expect(dead_code, reason = "shared with the tests of metadata, which need more of it")]
#[path = "../../metadata/tests/sigstore/instance.rs"]
mod instance;
mod scene;
mod served;

use countersign_tests::programs::{must, run};
use countersign_tests::world::text;
use instance::Instance;
use scene::Scene;
use serde_json::json;
use served::{alice, token};

#[test]
fn a_keyless_rebuild_goes_from_a_token_to_a_node_that_counts_it_beside_a_key() {
    let scene = Scene::new();
    scene.release("1.0.0");
    let node = scene.install();
    let release = scene.release("2.0.0");
    let not_yet = scene.explain(&node, &[]);
    assert_eq!(not_yet["decisions"][0]["verdict"], "refused", "{not_yet}");

    // A bundle needs the instance's keys in the repository first.
    let bundle = text(&scene.sign(1, &release, "verdict"));
    let early = run("countersign-metadata", ["attest", "--repo", &scene.world.repo(), &bundle]);
    assert!(early.exit == 6 && early.mentions("trusted-root"), "{early:?}");
    let review = scene.publish_trusted_root();
    for said in [
        "trusted_root.json: by it nodes believe",
        "https://authority.example",
        "https://log.example",
    ] {
        assert!(review.contains(said), "{review}");
    }

    // An identity through a log of version 1, and a managed key on P-256 through one of version 2.
    let attested = scene.attest(&bundle);
    assert!(attested["path"].as_str().unwrap().ends_with(".sigstore.json"), "{attested}");
    let one = scene.explain(&node, &[]);
    assert!(one["decisions"][0]["why"].as_str().unwrap().contains("1 of the 4"), "{one}");
    scene.attest(&text(&scene.sign_managed(2, &release)));
    let both = scene.explain(&node, &[]);
    assert_eq!(both["chosen"], "2.0.0", "{both}");
    let by = both["reproduced"][0]["by"].as_array().unwrap().clone();
    let Signer { identity, issuer } = Signer::of_alice();
    assert!(by.contains(&json!({ "identity": identity, "issuer": issuer })), "{by:?}");
    assert_eq!(by.len(), 2, "{by:?}");

    // Offline it is the same, by what was kept and nothing else.
    let offline = scene.explain(&node, &["--offline"]);
    assert_eq!(offline["chosen"], "2.0.0", "{offline}");
    // A stranger sees who it was, without any policy.
    let seen = scene.verify(&release);
    assert_eq!(seen["unbelieved"], 0, "{seen}");
    assert!(seen["verdicts"].to_string().contains(&identity), "{seen}");
}

struct Signer {
    identity: String,
    issuer: String,
}

impl Signer {
    fn of_alice() -> Self {
        Self { identity: alice().identity, issuer: alice().issuer }
    }
}

#[test]
fn a_log_of_version_2_with_a_timestamp_signs_provenance_that_is_attested() {
    let scene = Scene::new();
    let release = scene.release("1.0.0");
    scene.publish_trusted_root();
    let bundle = scene.sign(2, &release, "provenance");
    let attested = scene.attest(&text(&bundle));
    assert_eq!(attested["says"], "how it was built", "{attested}");
    assert!(attested["by"].as_str().unwrap().contains(&alice().identity), "{attested}");
    // Once more is no second entry.
    assert_eq!(scene.attest(&text(&bundle))["path"], attested["path"]);
}

#[test]
fn what_an_instance_answers_is_believed_by_its_own_trusted_root_alone() {
    let scene = Scene::new();
    let release = scene.release("1.0.0");
    let elsewhere = Instance::new().trusted_root();
    let instance = scene.served.configure(&scene.world.at(""), 1, &elsewhere);
    let out = scene.world.at("never.json");
    let said = scene.try_sign(&instance, &release, "verdict", &out, &[]);
    assert!(said.exit == 6 && said.mentions("not believed"), "{said:?}");
    assert!(!out.exists());
}

#[test]
fn a_token_that_is_refused_missing_or_for_nobody_signs_nothing() {
    let scene = Scene::new();
    let release = scene.release("1.0.0");
    let instance = scene.instance(1);
    let out = scene.world.at("never.json");
    for (file, exit, says) in [
        (Some(token("repo:mallory")), 6, "identity token"),
        (Some("not a token".to_owned()), 4, "identity token"),
        (None, 4, "identity token"),
    ] {
        let path = scene.world.at("other.jwt");
        let _none = std::fs::remove_file(&path);
        if let Some(content) = file {
            std::fs::write(&path, content).unwrap();
        }
        let said =
            scene.try_sign(&instance, &release, "verdict", &out, &["--token-file", &text(&path)]);
        assert!(said.exit == exit && said.mentions(says), "{said:?}");
        assert!(!out.exists());
    }
}

#[test]
fn a_token_may_come_by_an_open_descriptor_and_never_as_an_argument() {
    let scene = Scene::new();
    let release = scene.release("1.0.0");
    let (instance, out) = (text(&scene.instance(1)), text(&scene.world.at("v.sigstore.json")));
    let program = text(&countersign_tests::programs::path("countersign-keyless"));
    let statement = text(&scene.statement(&release, "verdict"));
    let script = "exec 3< \"$1\"; shift; exec \"$@\" --token-fd 3";
    let token = text(&scene.token());
    let words = [
        "-c",
        script,
        "sh",
        &token,
        &program,
        "sign",
        "--instance",
        &instance,
        "-o",
        &out,
        &statement,
    ];
    must("sh", words);
    assert!(std::fs::metadata(&out).unwrap().len() > 1000);
    let help = must("countersign-keyless", ["sign", "--help"]);
    assert!(!help.out.contains("--token "), "{}", help.out);
}

#[test]
fn services_that_are_not_there_are_the_networks_fault_and_nothing_is_written() {
    let scene = Scene::new();
    let release = scene.release("1.0.0");
    let instance = scene.instance(1);
    let config = std::fs::read_to_string(&instance).unwrap();
    let nobody = format!("http://{}", countersign_tests::world::free_address());
    std::fs::write(&instance, config.replace(&scene.served.url, &nobody)).unwrap();
    let out = scene.world.at("never.json");
    let said = scene.try_sign(&instance, &release, "verdict", &out, &[]);
    assert!(said.exit == 5 && said.mentions(&nobody), "{said:?}");
    assert!(!out.exists());
}

#[test]
fn a_statement_about_another_release_than_the_one_at_hand_is_not_signed() {
    let scene = Scene::new();
    let one = scene.release("1.0.0");
    let two = scene.release("2.0.0");
    let file = scene.world.at("two.json");
    std::fs::write(&file, serde_json::to_vec(&two).unwrap()).unwrap();
    let out = scene.world.at("never.json");
    let said =
        scene.try_sign(&scene.instance(1), &one, "verdict", &out, &["--release", &text(&file)]);
    assert!(said.exit == 6 && said.mentions("another artifact"), "{said:?}");
    assert!(!out.exists());
}

#[test]
fn a_tampered_bundle_and_one_without_its_log_entry_are_not_attested() {
    let scene = Scene::new();
    let release = scene.release("1.0.0");
    scene.publish_trusted_root();
    let bundle = scene.sign(1, &release, "verdict");
    let good: serde_json::Value = serde_json::from_slice(&std::fs::read(&bundle).unwrap()).unwrap();
    let mut tampered = good.clone();
    tampered["dsseEnvelope"]["signatures"][0]["sig"] = "MEUCIQ==".into();
    let mut bare = good;
    bare["verificationMaterial"]["tlogEntries"] = json!([]);
    for bad in [tampered, bare] {
        let path = text(&scene.world.at("bad.json"));
        std::fs::write(&path, bad.to_string()).unwrap();
        let said = run("countersign-metadata", ["attest", "--repo", &scene.world.repo(), &path]);
        assert!(said.exit == 6 && said.mentions("was refused"), "{said:?}");
    }
    // What keyholders say of their signatures is listed there; no bundle is.
    let index = format!("repo/public/attestations/{}/index.json", release.artifact.sha256);
    let index = std::fs::read_to_string(scene.world.at(&index)).unwrap_or_default();
    assert!(!index.contains("bundles"), "{index}");
}
