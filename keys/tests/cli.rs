//! The program as a keyholder meets it.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::program::{Desk, Ended, mode};
use common::{Repo, listing, product, published, release, request, targets, verdict};
use countersign_metadata::request::Signature;
use countersign_metadata::statement::Outcome;
use countersign_metadata::word;
use serde_json::{Value, json};

#[test]
fn a_key_is_made_shown_pins_what_it_signs_and_its_signature_verifies() {
    let desk = Desk::new();
    desk.run("generate alice --no-password --label Alice").done();
    let secret = std::fs::metadata(desk.path("alice.key")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
    let shown: Value = serde_json::from_str(&desk.run("show --json alice.pub").done()).unwrap();
    assert_eq!(shown[0]["label"], "Alice");
    let key: countersign_metadata::PublicKey =
        serde_json::from_value(shown[0]["key"].clone()).unwrap();
    assert_eq!(shown[0]["id"], json!(key.id()));

    let repo = Repo::new();
    let mut root = repo.root1();
    let id = key.id().to_string();
    root["keys"][&id] = key.to_tuf();
    root["x-countersign-labels"][&id] = "Alice".into();
    for role in ["root", "targets"] {
        root["roles"][role]["keyids"].as_array_mut().unwrap().push(id.clone().into());
    }
    desk.put_request("root.request.json", &request("root", &root, &[], None, None));
    let signed = desk.run("sign --yes --key alice.key -o root.sig.json root.request.json");
    assert!(signed.err.contains("FIRST root") && signed.err.contains("Pinned"), "{}", signed.err);
    signed.done();
    let told = desk.run("verify --request root.request.json root.sig.json").done();
    assert!(told.contains("Signed by Alice"), "{told}");

    // Beside the key lies what the next request is judged from.
    let next = request("targets", &targets(1, &repo.three(), 2), &[], None, None);
    desk.put_request("targets.request.json", &next);
    desk.run("verify --request targets.request.json root.sig.json").failed(6, "does not answer");
    let review = desk.run("review --json --key alice.key targets.request.json").done();
    let review: Value = serde_json::from_str(&review).unwrap();
    assert_eq!(review["before"], json!({ "known": "first", "pinned": 1, "root": 1 }));
    let input = std::fs::read(desk.path("targets.request.json")).unwrap();
    let signature = desk.run_with("sign --yes --key alice.key", &input).done();
    let signature: Signature = serde_json::from_str(&signature).unwrap();
    signature.verify(&next.message()).unwrap();
}

#[test]
fn a_release_is_signed_with_the_own_verdict_or_without_rebuild_by_name() {
    let (desk, repo) = (Desk::new(), Repo::new());
    desk.put_key(&repo.alice);
    desk.put("1.root.json", repo.published_root1());
    let release = release("1.0.0");
    let asked =
        repo.release_request(&product(2, std::slice::from_ref(&release)), Some(&product(1, &[])));
    desk.put_request("demo.request.json", &asked);
    desk.put("verdict.json", verdict(&release, &repo.alice, Outcome::Reproduced));
    let sign = |evidence: &str| {
        desk.run(&format!(
            "sign --yes --key alice.key --root 1.root.json{evidence} demo.request.json"
        ))
    };

    sign("").failed(6, "no rebuild of your own");
    desk.run("attest --key alice.key verdict.json -o verdict.dsse.json").done();
    let signed = sign(" --rebuilt verdict.dsse.json");
    assert!(signed.err.contains("resting on your own rebuild"), "{}", signed.err);
    let signed: Value = serde_json::from_str(&signed.done()).unwrap();
    assert_eq!(signed["rebuilt"]["payloadType"], "application/vnd.in-toto+json");
    let without = sign(" --without-rebuild");
    assert!(without.err.contains("WITHOUT a rebuild"), "{}", without.err);
    let signed: Value = serde_json::from_str(&without.done()).unwrap();
    assert_eq!(signed["waiver"]["payloadType"], "application/vnd.in-toto+json");

    desk.put("bob.json", verdict(&release, &repo.bob, Outcome::Reproduced));
    desk.run("attest --key alice.key bob.json").failed(6, "speaks for");
    desk.put(
        "bob.dsse.json",
        common::envelope(&verdict(&release, &repo.bob, Outcome::Reproduced), &repo.bob),
    );
    sign(" --rebuilt bob.dsse.json --rebuilt bob.dsse.json").failed(6, "not your key");
    // A key of hers that signs nothing but verdicts.
    desk.put("bob.pub", &repo.bob.files.public);
    desk.put("carol.pub", &repo.carol.files.public);
    sign(" --rebuilt bob.dsse.json --rebuild-key carol.pub").failed(6, "not your key");
    let keyring = sign(" --rebuilt bob.dsse.json --rebuild-key carol.pub --rebuild-key bob.pub");
    assert!(keyring.err.contains("resting on your own rebuild"), "{}", keyring.err);
    let signed: Signature = serde_json::from_str(&keyring.done()).unwrap();
    let (vouched, by) = (signed.vouched.unwrap(), repo.bob.key());
    word::verify_vouch(&vouched, &signed.key, by, signed.message, &release).unwrap();
}

#[test]
fn an_online_key_signs_unattended_only_what_follows_from_its_root() {
    let (desk, repo) = (Desk::new(), Repo::new());
    desk.put_key(&repo.online);
    desk.put("1.root.json", repo.published_root1());
    let roots = [repo.published_root1()];
    let first = listing("timestamp", 1, &[("snapshot.json", 1)]);
    desk.put_request("first.json", &request("timestamp", &first, &roots, None, None));
    desk.run("sign --yes --key online.key first.json").failed(3, "no root is pinned");
    desk.run("sign --yes --key online.key --root 1.root.json first.json").done();
    let pinned = desk.run("sign --yes --key online.key --trust-first-root first.json");
    assert!(pinned.err.contains("Pinned the first root seen"), "{}", pinned.err);
    pinned.done();

    let second = listing("timestamp", 2, &[("snapshot.json", 2)]);
    let last = published(&first, &[&repo.online]);
    let good = request("timestamp", &second, &roots, Some(last), None);
    desk.put_request("second.json", &good);
    desk.run("sign --yes --key online.key second.json").done();
    desk.put_request("jump.json", &request("timestamp", &second, &roots, None, None));
    desk.run("sign --yes --key online.key jump.json").failed(6, "must be version 1");
    // Another repository's root, seen later, moves nothing.
    let forged = common::root(1, &[&repo.stranger], 1, &repo.online);
    let forged = [published(&forged, &[&repo.stranger])];
    desk.put_request("forged.json", &request("timestamp", &first, &forged, None, None));
    desk.run("sign --yes --key online.key --trust-first-root forged.json")
        .failed(6, "is not the root that is pinned");
    // Nor does it sign what is not its own.
    let foreign = request("targets", &targets(1, &repo.three(), 2), &roots, None, None);
    desk.put_request("foreign.json", &foreign);
    desk.run("sign --yes --key online.key foreign.json").failed(6, "not among those that sign");
}

#[test]
fn a_root_is_pinned_once_and_replaced_only_when_that_is_said() {
    let (desk, repo) = (Desk::new(), Repo::new());
    desk.put("1.root.json", repo.published_root1());
    desk.put("weak.json", published(&repo.root1(), &[&repo.alice]));
    let other = common::root(1, &[&repo.stranger], 1, &repo.online);
    desk.put("other.json", published(&other, &[&repo.stranger]));
    desk.run("pin --key alice.key weak.json").failed(6, "signed by 1 of the 2 keys");
    let shown = desk.run("pin --key alice.key 1.root.json").done();
    assert!(shown.contains(&repo.bob.id()), "{shown}");
    desk.run("pin --key alice.key 1.root.json").done();
    desk.run("pin --key alice.key other.json").failed(6, "holds another root already");
    desk.run("pin --key alice.key --replace other.json").done();
}

#[test]
fn what_goes_wrong_is_told_in_one_sentence_with_a_hint_and_its_exit_code() {
    let (desk, repo) = (Desk::new(), Repo::new());
    desk.put_key(&repo.alice);
    desk.put_request("root.json", &request("root", &repo.root1(), &[], None, None));
    desk.put("noise.json", "not a request");
    desk.run("sign --yes --key nobody.key root.json").failed(4, "there is no key file nobody.key");
    desk.run("sign --yes --key alice.pub root.json").failed(4, "alice.pub can be read");
    desk.run("sign --yes --key alice.key noise.json").failed(3, "is not a signing request");
    desk.run("sign --yes --key alice.key nothing.json").failed(3, "nothing.json does not exist");
    desk.run("sign --key alice.key root.json").failed(2, "no terminal to ask for your consent");
    desk.run("generate carol").failed(4, "there is no terminal to ask on");
    desk.run("generate ../carol --no-password").failed(2, "no name for files");
    let before = std::fs::read(desk.path("alice.key")).unwrap();
    desk.run("generate alice --no-password").failed(3, "never overwritten");
    assert_eq!(std::fs::read(desk.path("alice.key")).unwrap(), before);
    desk.run("show alice.key").failed(3, "holds no public key");
    mode(&desk.path("alice.key"), 0o640);
    let exposed = desk.run("sign --yes --key alice.key root.json");
    exposed.failed(4, "can be read or written by others (mode 0640)");
    assert!(exposed.err.contains("hint: chmod 600 alice.key"), "{}", exposed.err);
    let json = desk.run("review --json noise.json");
    let told: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(told["exit"], 3);
}

/// One test, because each opening takes 1 GiB and seconds: that is what the password is worth.
#[test]
fn a_sealed_key_opens_with_its_password_from_a_file_or_descriptor_and_with_no_other() {
    let (desk, repo) = (Desk::new(), Repo::new());
    for (name, text) in [("good", "open sesame\n"), ("wrong", "open barley\n")] {
        mode(&desk.put(name, text), 0o600);
    }
    desk.run("generate dave --password-file good").done();
    let public = std::fs::read_to_string(desk.path("dave.pub")).unwrap();
    let key = countersign_metadata::PublicKey::from_file_text(&public).unwrap();
    let mut statement = verdict(&release("1.0.0"), &repo.alice, Outcome::Reproduced);
    let text = String::from_utf8(statement).unwrap();
    statement = text.replace(&repo.alice.key().to_string(), &key.to_string()).into_bytes();
    desk.put("verdict.json", statement);
    let attest = "attest --key dave.key verdict.json";
    desk.run(attest).failed(4, "there is no terminal to ask on");
    desk.run(&format!("{attest} --password-file wrong")).failed(4, "the password is wrong");
    let by_descriptor = desk.run_with(&format!("{attest} --password-fd 0"), b"open sesame\n");
    assert!(by_descriptor.done().contains("payloadType"));
    mode(&desk.path("good"), 0o644);
    desk.run(&format!("{attest} --password-file good"))
        .failed(4, "can be read or written by others");
}

#[test]
fn on_a_terminal_only_yes_means_yes() {
    let (desk, repo) = (Desk::new(), Repo::new());
    desk.put_key(&repo.alice);
    desk.put_request("root.json", &request("root", &repo.root1(), &[], None, None));
    for (typed, code) in [("no\n", 1), ("\n", 1), ("yes\n", 0)] {
        let terminal = nix::pty::openpty(None, None).unwrap();
        // `--ctty` makes standard input the terminal that the program asks on.
        let child = Command::new("setsid")
            .args(["--wait", "--ctty", env!("CARGO_BIN_EXE_countersign-keys")])
            .args(["sign", "--key", "alice.key", "root.json"])
            .current_dir(desk.path(""))
            .stdin(terminal.slave)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut screen = std::fs::File::from(terminal.master);
        let mut shown = String::new();
        while !shown.contains("Type yes: ") {
            let mut buffer = [0; 256];
            let length = screen.read(&mut buffer).unwrap();
            shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        screen.write_all(typed.as_bytes()).unwrap();
        let ended = Ended::of(&child.wait_with_output().unwrap());
        assert_eq!(ended.code, code, "{typed:?}: {}", ended.err);
        assert_eq!(!ended.out.is_empty(), code == 0);
    }
}

#[test]
fn a_process_that_handles_secrets_leaves_no_core_file() {
    let desk = Desk::new();
    let mut child = desk
        .command("sign --yes --key alice.key -")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It waits for its request. `setsid` runs the program in its own place or, as a group leader, in a child.
    let limits = || {
        let pid = child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let child = children.unwrap_or_default().split_whitespace().next().map(str::to_owned);
        let pid = child.unwrap_or_else(|| pid.to_string());
        std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default()
    };
    let none = |limits: &str| {
        let core = limits.lines().find(|l| l.starts_with("Max core file size"));
        let words: Vec<_> = core.unwrap_or_default().split_whitespace().collect();
        words.get(4..6) == Some(&["0", "0"])
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !none(&limits()) {
        assert!(Instant::now() < deadline, "{}", limits());
        std::thread::yield_now();
    }
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
