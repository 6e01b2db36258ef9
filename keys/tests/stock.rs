//! The stock `minisign` program and ours: the same keys, the same signatures.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::Command;

use common::program::{Desk, Ended, mode, run};
use common::{Repo, request};
use countersign_metadata::PublicKey;
use countersign_metadata::request::Signature;

fn minisign(desk: &Desk, words: &str, input: &[u8]) -> Ended {
    let installed = Command::new("minisign").arg("-v").output().is_ok();
    assert!(installed, "this test needs the stock minisign program: apt-get install minisign");
    run(Command::new("minisign").args(words.split(' ')).current_dir(desk.path("")), input)
}

/// Signs a first root with the key NAME.key on the desk, which is made one of its keys. Gives the exact bytes too.
fn sign_root(desk: &Desk, name: &str, more: &str) -> (Signature, Vec<u8>) {
    let public = std::fs::read_to_string(desk.path(&format!("{name}.pub"))).unwrap();
    let key = PublicKey::from_file_text(&public).unwrap();
    let repo = Repo::new();
    let mut root = repo.root1();
    let id = key.id().to_string();
    root["keys"][&id] = key.to_tuf();
    root["roles"]["root"]["keyids"].as_array_mut().unwrap().push(id.into());
    let asked = request("root", &root, &[], None, None);
    desk.put_request("root.request.json", &asked);
    let signed = desk.run(&format!("sign --yes --key {name}.key root.request.json{more}")).done();
    (serde_json::from_str(&signed).unwrap(), asked.message())
}

/// Our signature verifies there, theirs is the same bytes.
fn both_agree(desk: &Desk, name: &str, signature: &Signature, message: &[u8], password: &[u8]) {
    desk.put("root.signed", message);
    desk.put("ours.minisig", signature.minisig.as_ref().unwrap());
    let verify = format!("-V -m root.signed -x ours.minisig -P {}", signature.key);
    let told = minisign(desk, &verify, b"").done();
    assert!(told.contains("Trusted comment: countersign: root version 1"), "{told}");
    minisign(desk, &format!("-V -m root.signed -x ours.minisig -p {name}.pub"), b"").done();

    minisign(desk, &format!("-S -l -s {name}.key -m root.signed -x stock.minisig"), password)
        .done();
    let stock = std::fs::read_to_string(desk.path("stock.minisig")).unwrap();
    countersign_keys::minisig::verify(&stock, &signature.key, message).unwrap();
    let line = |text: &str| text.lines().nth(1).unwrap().to_owned();
    assert_eq!(line(&stock), line(signature.minisig.as_ref().unwrap()));
}

#[test]
fn our_open_key_works_in_the_stock_tool_and_gives_the_same_signature() {
    let desk = Desk::new();
    desk.run("generate alice --no-password").done();
    let (signature, message) = sign_root(&desk, "alice", "");
    both_agree(&desk, "alice", &signature, &message, b"");
    desk.put("root.signed", [&message[..], b" "].concat());
    let tampered = format!("-V -m root.signed -x ours.minisig -P {}", signature.key);
    assert_ne!(minisign(&desk, &tampered, b"").code, 0);
}

#[test]
fn a_stock_key_without_password_signs_here() {
    let desk = Desk::new();
    minisign(&desk, "-G -W -s stock.key -p stock.pub", b"").done();
    let (signature, message) = sign_root(&desk, "stock", "");
    assert_eq!(signature.label, "stock", "it has no label of its own");
    both_agree(&desk, "stock", &signature, &message, b"");
}

/// One test, because each opening takes 1 GiB and seconds.
#[test]
fn sealed_keys_of_either_tool_open_in_the_other() {
    let desk = Desk::new();
    mode(&desk.put("password", "open sesame\n"), 0o600);
    desk.run("generate ours --password-file password").done();
    minisign(&desk, "-G -s theirs.key -p theirs.pub", b"open sesame\nopen sesame\n").done();
    for name in ["ours", "theirs"] {
        let (signature, message) = sign_root(&desk, name, " --password-file password");
        both_agree(&desk, name, &signature, &message, b"open sesame\n");
    }
}
