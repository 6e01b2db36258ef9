//! The errors that a newcomer meets: one sentence, a hint, an exit code.

use std::net::TcpListener;
use std::path::Path;

use countersign_tests::programs::{Said, must, run};
use countersign_tests::world::{free_address, text};

/// One `error:` line with the wanted words, one `hint:` line, and the exit code.
fn told(said: &Said, exit: i32, words: &[&str]) {
    assert_eq!(said.exit, exit, "{}{}", said.out, said.err);
    let errors: Vec<_> = said.err.lines().filter(|l| l.starts_with("error: ")).collect();
    let hints = said.err.lines().filter(|l| l.starts_with("hint: ")).count();
    assert_eq!((errors.len(), hints), (1, 1), "{}", said.err);
    for word in words {
        assert!(errors[0].contains(word), "{word:?} is not in {}", errors[0]);
    }
}

/// A drafted first root in `home`, for one keyholder whose key has the options given.
fn drafted(home: &Path, protection: &[&str]) -> String {
    let at = |name: &str| text(&home.join(name));
    let here = at("");
    must("countersign-keys", [&["generate", "alice", "--dir", &here], protection].concat());
    must("countersign-keys", ["generate", "online", "--dir", &here, "--no-password"]);
    let alice = format!("alice={}", at("alice.pub"));
    must(
        "countersign-metadata",
        [
            "init",
            "--repo",
            &at("repo"),
            "--product",
            "p",
            "--threshold",
            "1",
            "--keyholder",
            &alice,
            "--online",
            &at("online.pub"),
        ],
    );
    at("repo/drafts/0001-init/root.request.json")
}

#[test]
fn a_missing_key_is_named() {
    let home = tempfile::tempdir().unwrap();
    let request = drafted(home.path(), &["--no-password"]);
    let missing = text(&home.path().join("bob.key"));
    let said = run("countersign-keys", ["sign", "--yes", "--key", &missing, &request]);
    told(&said, 4, &[&missing]);
}

#[test]
fn a_wrong_password_is_said_to_be_wrong() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&home.path().join(name));
    for (file, password) in [("right", "correct horse"), ("wrong", "incorrect horse")] {
        std::fs::write(at(file), password).unwrap();
        must("chmod", ["600", &at(file)]);
    }
    let request = drafted(home.path(), &["--password-file", &at("right")]);
    let (key, wrong) = (at("alice.key"), at("wrong"));
    let said = run(
        "countersign-keys",
        ["sign", "--yes", "--key", &key, "--password-file", &wrong, &request],
    );
    told(&said, 4, &["password"]);
}

#[test]
fn an_unreachable_mirror_is_named() {
    let world = countersign_tests::world::World::new();
    let nobody = format!("http://{}", free_address());
    let node = text(&world.at("node"));
    let root = text(&world.root());
    let said = run(
        "countersign-updater",
        ["install", &node, "--repository", &nobody, "--root", &root, "--product", "examplenode"],
    );
    told(&said, 5, &[&nobody]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let said =
        run("countersign-metadata", ["serve", &text(directory.path()), "--listen", &address]);
    told(&said, 7, &[&address]);
}

#[test]
fn a_kernel_without_user_namespaces_is_refused_by_name() {
    // A namespace in which no further one may be made stands for such a kernel; its user is nobody special there.
    let script =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" shadow run -- /bin/true";
    let updater = text(&countersign_tests::programs::path("countersign-updater"));
    let namespace = ["--user", "--map-user=1000", "--keep-caps", "sh", "-c", script, &updater];
    let said = run("unshare", namespace);
    told(&said, 7, &["user namespaces"]);
}
