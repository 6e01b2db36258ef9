//! Keys that other programs made and keep: PKCS#8 files, an SSH agent, a PKCS#11 token. The programs are the stock ones.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::program::{Desk, mode};
use common::stock::{Agent, P256, PIN, openssl_key, stock, token, token_key};
use common::{Repo, request};
use countersign_metadata::PublicKey;
use countersign_metadata::request::{Signature, SigningRequest};
use serde_json::Value;

/// Imports a public key of another tool, and puts a first root on the desk that it may sign.
fn ask(desk: &Desk, name: &str, file: &str) -> SigningRequest {
    desk.run(&format!("import --label {name} {file} -o {name}.pub")).done();
    let public = std::fs::read_to_string(desk.path(&format!("{name}.pub"))).unwrap();
    let key = PublicKey::from_file_text(&public).unwrap();
    let mut root = Repo::new().root1();
    let id = key.id().to_string();
    root["keys"][&id] = key.to_tuf();
    root["roles"]["root"]["keyids"].as_array_mut().unwrap().push(id.into());
    let asked = request("root", &root, &[], None, None);
    desk.put_request(&format!("{name}.request.json"), &asked);
    asked
}

/// Signs it with `key`, verifies it with our law, and with `verify` of the command line too.
fn sign(desk: &Desk, name: &str, key: &str, asked: &SigningRequest) -> Signature {
    let words = format!("sign --yes --key {key} -o {name}.sig.json {name}.request.json");
    desk.run(&words).done();
    desk.run(&format!("verify --request {name}.request.json {name}.sig.json")).done();
    let text = std::fs::read(desk.path(&format!("{name}.sig.json"))).unwrap();
    let signature: Signature = serde_json::from_slice(&text).unwrap();
    let public = std::fs::read_to_string(desk.path(&format!("{name}.pub"))).unwrap();
    assert_eq!(signature.key, PublicKey::from_file_text(&public).unwrap());
    assert!(signature.minisig.is_none(), "it is no minisign key");
    signature.verify(&asked.message()).unwrap().get().clone()
}

#[test]
fn keys_of_openssl_sign_open_and_sealed() {
    let desk = Desk::new();
    mode(&desk.put("password", "open sesame\n"), 0o600);
    mode(&desk.put("wrong", "open barley\n"), 0o600);
    for (name, algorithm) in [("ed25519", "ED25519"), ("p256", P256)] {
        openssl_key(&desk, name, algorithm);
        let asked = ask(&desk, name, &format!("{name}.public"));
        let signature = sign(&desk, name, &format!("{name}.pem"), &asked);
        assert_eq!(signature.label, name);
        for (how, more) in [("pbkdf2", "-iter 4096"), ("scrypt", "-scrypt")] {
            let seal = format!(
                "openssl pkcs8 -topk8 -v2 aes-256-cbc {more} -passout file:password -in {name}.pem -out {name}.{how}.pem"
            );
            stock(&desk, &seal, b"").done();
            mode(&desk.path(&format!("{name}.{how}.pem")), 0o600);
            let key = format!("{name}.{how}.pem --password-file");
            sign(&desk, name, &format!("{key} password"), &asked);
            let words = format!("sign --yes --key {key} wrong {name}.request.json");
            desk.run(&words).failed(4, "the password is wrong");
        }
    }
    desk.run("generate ours --kind p256 --password-file password").done();
    let asked = ask(&desk, "ours256", "ours.pub");
    sign(&desk, "ours256", "ours.key --password-file password", &asked);
    let unseal = "openssl pkey -in ours.key -passin file:password -pubout -out ours.public";
    stock(&desk, unseal, b"").done();
    let pem = std::fs::read_to_string(desk.path("ours.public")).unwrap();
    let public = std::fs::read_to_string(desk.path("ours.pub")).unwrap();
    let [theirs, ours] = [pem, public].map(|text| PublicKey::from_file_text(&text).unwrap());
    assert_eq!(theirs, ours, "OpenSSL opens our key");

    let (seal, pem) = ("openssl pkcs8 -topk8 -passout file:password -in p256.pem", "old.pem");
    for (how, told) in [("-v2 des3", "cipher"), ("-v1 PBE-SHA1-3DES", "password derivation")] {
        stock(&desk, &format!("{seal} {how} -out {pem}"), b"").done();
        mode(&desk.path(pem), 0o600);
        let words = format!("sign --yes --key {pem} --password-file password p256.request.json");
        let ended = desk.run(&words);
        ended.failed(4, "cannot be opened");
        assert!(ended.err.contains(told), "{}", ended.err);
    }
    stock(&desk, &format!("{seal} -scrypt -scrypt_N 1024 -scrypt_p 17 -out slow.pem"), b"").done();
    mode(&desk.path("slow.pem"), 0o600);
    let slow = "sign --yes --key slow.pem --password-file password p256.request.json";
    desk.run(slow).failed(4, "above the stock tool's strength");

    stock(&desk, "openssl ec -in p256.pem -out sec1.pem", b"").done();
    mode(&desk.path("sec1.pem"), 0o600);
    let sec1 = desk.run("sign --yes --key sec1.pem p256.request.json");
    sec1.failed(4, "not PKCS#8");
    assert!(sec1.err.contains("hint: openssl pkcs8 -topk8"), "{}", sec1.err);
    openssl_key(&desk, "rsa", "RSA");
    desk.run("sign --yes --key rsa.pem p256.request.json").failed(4, "neither an Ed25519");
    desk.run("import --label rsa rsa.public").failed(3, "holds no public key");
}

#[test]
fn a_key_in_an_ssh_agent_signs_and_its_secret_is_never_seen() {
    for kind in ["ed25519", "ecdsa -b 256"] {
        let mut desk = Desk::new();
        desk.run("sign --yes --key ssh-agent:alice.pub x.json").failed(3, "x.json does not exist");
        let _agent = Agent::start(&mut desk, "alice", kind);
        let asked = ask(&desk, "imported", "alice.pub");
        assert_eq!(sign(&desk, "imported", "ssh-agent:alice.pub", &asked).label, "alice@desk");
        let shown: Value = serde_json::from_str(&desk.run("show --json alice.pub").done()).unwrap();
        let print = shown[0]["ssh"].as_str().unwrap();
        let listed = stock(&desk, "ssh-add -l", b"").done();
        assert!(listed.contains(print), "{listed}");
        let by_print = format!("ssh-agent:{print} --public imported.pub");
        assert_eq!(sign(&desk, "imported", &by_print, &asked).label, "imported");
        stock(&desk, "ssh-add -q -D", b"").done();
        let gone = desk.run(&format!("sign --yes --key ssh-agent:{print} imported.request.json"));
        gone.failed(4, "cannot be used");
    }
}

#[test]
fn a_key_in_a_token_signs_with_its_pin_and_no_other() {
    let mut desk = Desk::new();
    let library = token(&mut desk);
    for (name, kind, id) in [("ed25519", "EC:edwards25519", 1), ("p256", "EC:prime256v1", 2)] {
        token_key(&desk, &library, name, kind, id);
        let asked = ask(&desk, name, &format!("{name}.public"));
        let uri = format!("pkcs11:token=desk;object={name}?module-path={}", library.display());
        let signature = sign(&desk, name, &format!("{uri} --password-file pin"), &asked);
        assert_eq!(signature.label, name);
        let uri = format!("pkcs11:token=desk;id=%{id:02x}?module-path={}", library.display());
        sign(&desk, name, &format!("{uri} --password-file pin --public {name}.pub"), &asked);
    }
    mode(&desk.put("wrong", "0000000"), 0o600);
    let module = format!("module-path={}", library.display());
    let refused = |uri: &str, pin: &str, code: i32, part: &str| {
        let words = format!("sign --yes --key {uri} --password-file {pin} p256.request.json");
        desk.run(&words).failed(code, part);
    };
    refused(&format!("pkcs11:token=desk;object=p256?{module}"), "wrong", 4, "the PIN is wrong");
    refused(&format!("pkcs11:token=other;object=p256?{module}"), "pin", 4, "there are: \"desk\"");
    refused(&format!("pkcs11:token=desk;object=none?{module}"), "pin", 4, "0 private keys");
    refused("pkcs11:object=p256?module-path=/nowhere.so", "pin", 4, "cannot be loaded");
    let with_pin = format!("pkcs11:object=p256?{module}&pin-value={PIN}");
    refused(&with_pin, "pin", 2, "names no key in a token");
    desk.run("import --label other ed25519.public -o other.pub").done();
    let other = format!("pkcs11:token=desk;object=p256?{module} --public other.pub");
    refused(&other, "pin", 4, "is not the public half of this key");
}
