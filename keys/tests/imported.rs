//! Signatures that stock programs made over exported bytes: accepted only where they are what they should be.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::program::Desk;
use common::stock::{PIN, stock, token, token_key};
use common::{Repo, envelope, product, release, request, verdict};
use countersign_metadata::request::Signature;
use countersign_metadata::statement::Outcome;
use countersign_metadata::{PublicKey, Sha256, waiver};

const TAKE: &str = "import-signature --root 1.root.json --request demo.json --public alice.pub";
const EXPORT: &str = "export-message --root 1.root.json --public alice.pub demo.json -o message";

/// Alice is asked to sign a release; her key is on the desk, with `message` exported.
fn desk() -> (Desk, Repo) {
    let (desk, repo) = (Desk::new(), Repo::new());
    desk.put_key(&repo.alice);
    desk.put_key(&repo.stranger);
    desk.put("1.root.json", repo.published_root1());
    let asked = repo.release_request(&product(2, &[release("1.0.0")]), Some(&product(1, &[])));
    desk.put_request("demo.json", &asked);
    let shown = desk.run(EXPORT).done();
    assert!(shown.contains("release demo 1.0.0"), "{shown}");
    assert_eq!(std::fs::read(desk.path("message")).unwrap(), asked.message());
    (desk, repo)
}

fn own_verdict(desk: &Desk, repo: &Repo) {
    let own = verdict(&release("1.0.0"), &repo.alice, Outcome::Reproduced);
    desk.put("verdict.dsse.json", envelope(&own, &repo.alice));
}

fn read(desk: &Desk, name: &str) -> Signature {
    serde_json::from_slice(&std::fs::read(desk.path(name)).unwrap()).unwrap()
}

#[test]
fn a_release_signed_with_a_stock_tool_needs_the_own_rebuild_or_a_signed_waiver() {
    let (desk, repo) = desk();
    stock(&desk, "minisign -S -l -s alice.key -m message -x raw.minisig", b"").done();
    desk.run(&format!("{TAKE} raw.minisig")).failed(6, "no rebuild of your own");
    own_verdict(&desk, &repo);
    let rebuilt = format!("{TAKE} --rebuilt verdict.dsse.json raw.minisig -o sig.json");
    desk.run(&rebuilt).done();
    let signature = read(&desk, "sig.json");
    assert!(signature.rebuilt.is_some() && signature.waiver.is_none());
    assert_eq!(signature.label, "alice");
    assert!(signature.minisig.is_some(), "the stock signature travels as it is");

    desk.run(&format!("{EXPORT} --waiver waiver")).done();
    let unsaid = desk.run(&format!("{TAKE} --without-rebuild raw.minisig"));
    assert!(unsaid.code == 2 && unsaid.err.contains("--waiver"), "{}", unsaid.err);
    let waive = format!("{TAKE} --without-rebuild --waiver waiver.minisig raw.minisig -o sig.json");
    // The signature of the release says nothing about rebuilding.
    std::fs::copy(desk.path("raw.minisig"), desk.path("waiver.minisig")).unwrap();
    desk.run(&waive).failed(6, "the signature of the other tool is refused");
    stock(&desk, "minisign -S -l -s alice.key -m waiver -x waiver.minisig", b"").done();
    desk.run(&waive).done();
    let signature = read(&desk, "sig.json");
    let message = Sha256::of(&std::fs::read(desk.path("message")).unwrap());
    let envelope = signature.waiver.unwrap();
    waiver::verify(&envelope, &signature.key, message, &[release("1.0.0")]).unwrap();
    assert!(signature.rebuilt.is_none());
}

#[test]
fn a_signature_by_another_key_or_over_other_bytes_or_of_another_form_is_refused() {
    let (desk, repo) = desk();
    own_verdict(&desk, &repo);
    let refused = |why: &str| {
        let ended = desk.run(&format!("{TAKE} --rebuilt verdict.dsse.json raw"));
        ended.failed(6, "the signature of the other tool is refused");
        assert!(ended.err.contains(why), "{why}: {}", ended.err);
    };
    stock(&desk, "minisign -S -l -s stranger.key -m message -x raw", b"").done();
    refused("not by this key over exactly these bytes");
    desk.put("other", "other bytes");
    stock(&desk, "minisign -S -l -s alice.key -m other -x raw", b"").done();
    refused("not by this key over exactly these bytes");
    stock(&desk, "minisign -S -H -s alice.key -m message -x raw", b"").done();
    refused("prehashed");
    stock(&desk, "ssh-keygen -q -t ed25519 -N  -f ssh", b"").done();
    stock(&desk, "ssh-keygen -q -Y sign -n file -f ssh message", b"").done();
    std::fs::rename(desk.path("message.sig"), desk.path("raw")).unwrap();
    refused("ssh-keygen -Y signs more");
    desk.put("raw", "hello");
    refused("no form");
    // A key with no say cannot even have the bytes of its waiver.
    let export = "export-message --root 1.root.json demo.json -o message";
    desk.run(&format!("{export} --public stranger.pub --waiver waiver"))
        .failed(6, "not among those that sign");
}

#[test]
fn raw_signatures_of_pkcs11_tool_are_taken_in_for_both_kinds_of_key() {
    let mut desk = Desk::new();
    let library = token(&mut desk);
    // EdDSA takes the message (pkcs11-tool: up to 1024 bytes of it), bare ECDSA takes the digest.
    for (name, kind, mechanism, number) in
        [("ed25519", "EC:edwards25519", "EDDSA", 1), ("p256", "EC:prime256v1", "ECDSA", 2)]
    {
        token_key(&desk, &library, name, kind, number);
        desk.run(&format!("import --label {name} {name}.public -o {name}.pub")).done();
        let public = std::fs::read_to_string(desk.path(&format!("{name}.pub"))).unwrap();
        let key = PublicKey::from_file_text(&public).unwrap();
        let (mut root, id) = (serde_json::json!({}), key.id().to_string());
        root["_type"] = "root".into();
        root["spec_version"] = "1.0.31".into();
        root["version"] = 1.into();
        root["expires"] = "2099-01-01T00:00:00Z".into();
        root["consistent_snapshot"] = true.into();
        root["keys"][&id] = key.to_tuf();
        for role in ["root", "targets", "snapshot", "timestamp"] {
            root["roles"][role] = serde_json::json!({ "keyids": [id], "threshold": 1 });
        }
        desk.put_request("root.json", &request("root", &root, &[], None, None));
        desk.run(&format!("export-message --public {name}.pub root.json -o message")).done();
        let tool = format!("pkcs11-tool --module {} --token-label desk", library.display());
        stock(&desk, "openssl dgst -sha256 -binary -out digest message", b"").done();
        let input = if mechanism == "ECDSA" { "digest" } else { "message" };
        let sign = format!(
            "{tool} --login --pin {PIN} --sign --id 0{number} -m {mechanism} -i {input} -o raw"
        );
        stock(&desk, &sign, b"").done();
        let take = format!("import-signature --request root.json --public {name}.pub raw");
        let answer: Signature = serde_json::from_str(&desk.run(&take).done()).unwrap();
        assert_eq!(answer.key, key);
        assert!(desk.path(&format!("{name}.root.json")).exists(), "the first root is pinned");
    }
}
