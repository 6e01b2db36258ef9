//! Every kind of input: fetched by `lock` from where this machine's clients are configured to ask, kept with the release, all
//! that a rebuild needs; what is stale is named.

use std::fs;
use std::path::Path;

use countersign_metadata::Sha256;
use serde_json::json;

use crate::project::{Ran, run_with};
use crate::serve::{Server, integrity, targz, zip};
use crate::sources::{recipe, whole_way};

const HERE: &str = "kind = \"directory\"";

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn build(dir: &Path, clients: &[(String, String)]) -> Ran {
    run_with(dir, &["build", ".", "-o", "out"], clients)
}

#[test]
fn npm_packages_by_their_lock_file_go_the_whole_way() {
    let server = Server::new();
    let (one, two) = (server.npm("one", "1.0.0", "1"), server.npm("@scope/two", "2.0.0", "2"));
    let dir = tempfile::tempdir().unwrap();
    let dependencies = json!({ "one": "1.0.0", "@scope/two": "^2.0.0" });
    let package = json!({ "name": "x", "version": "1.0.0", "dependencies": dependencies });
    write(dir.path(), "package.json", &package.to_string());
    write(dir.path(), "main.js", "console.log(require('one') + require('@scope/two'))\n");
    // One with its origin and one without, as npm is configured to write either.
    let lock_of = |one: &str| {
        json!({ "name": "x", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
            "": package,
            "node_modules/one": { "version": "1.0.0", "integrity": one,
                                  "resolved": "https://elsewhere.example/one/-/one-1.0.0.tgz" },
            "node_modules/@scope/two": { "version": "2.0.0", "integrity": two },
        } })
    };
    write(dir.path(), "package-lock.json", &lock_of(&one).to_string());
    // npm is an input like the others: what a machine has in its package's place is of many versions.
    let npm = server.npm_itself();
    let steps = "steps = [\"tar -xzf npm.tgz -C ..\", \"node ../package/bin/npm-cli.js ci\",\n\
                 \"node main.js > thing\", \"test $(cat thing) = 12\"]\n\
                 package-lock = [\"package-lock.json\"]";
    let further = format!("[inputs]\n\"npm.tgz\" = {{ package = \"npm:npm@{npm}\" }}\n");
    let text = recipe(HERE, "packages = [\"nodejs\"]", steps, &further);
    let lock = whole_way(dir.path(), &text, &server.clients());
    assert!(
        lock.contains("\"npm:one@1.0.0\"") && lock.contains("\"npm:@scope/two@2.0.0\""),
        "{lock}"
    );
    assert!(!lock.contains("http") && !lock.contains("elsewhere"), "{lock}");

    let other = integrity(b"other");
    write(dir.path(), "package-lock.json", &lock_of(&other).to_string());
    let ran = build(dir.path(), &server.clients());
    assert!(ran.err.contains("npm:one@1.0.0"), "{}", ran.err);
    run_with(dir.path(), &["lock", "."], &server.clients())
        .ended(6)
        .said("npm:one@1.0.0")
        .said(&other);

    let gone = json!({ "name": "x", "lockfileVersion": 3, "packages": { "": package } });
    write(dir.path(), "package-lock.json", &gone.to_string());
    build(dir.path(), &server.clients())
        .ended(3)
        .said("stale: npm:@scope/two@2.0.0 is no longer used");
    let weak = lock_of("sha1-AAAA");
    write(dir.path(), "package-lock.json", &weak.to_string());
    build(dir.path(), &server.clients()).ended(3).said("npm:one@1.0.0").said("sha512 is needed");
}

fn wheel(name: &str, text: &str) -> Vec<u8> {
    let info = format!("{name}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
    let wheel = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let record = format!("{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n");
    zip(&[
        (&format!("{name}.py"), text),
        (&format!("{info}/METADATA"), &metadata),
        (&format!("{info}/WHEEL"), wheel),
        (&format!("{info}/RECORD"), &record),
    ])
}

#[test]
fn python_packages_by_their_hashes_go_the_whole_way() {
    let server = Server::new();
    let digest = server.pypi("one", "one-1.0-py3-none-any.whl", wheel("one", "text = 'hello'\n"));
    let dir = tempfile::tempdir().unwrap();
    let other = Sha256::of(b"other");
    let list = format!("One==1.0 \\\n    --hash=sha256:{digest} \\\n    --hash=sha256:{other}\n");
    write(dir.path(), "requirements.txt", &list);
    let steps = "steps = [\"python3 -m pip install --require-hashes -r requirements.txt --target lib\",\n\
                 \"PYTHONPATH=lib python3 -c 'import one; print(one.text)' > thing\"]\n\
                 requirements = [\"requirements.txt\"]";
    let text = recipe(HERE, "packages = [\"python3\", \"python3-pip\"]", steps, "");
    let lock = whole_way(dir.path(), &text, &server.clients());
    assert!(
        lock.contains("\"pypi:one==1.0/one-1.0-py3-none-any.whl\"") && !lock.contains("http"),
        "{lock}"
    );

    write(dir.path(), "requirements.txt", &format!("one==1.0 --hash=sha256:{other}\n"));
    let ran = build(dir.path(), &server.clients()).ended(3);
    ran.said("stale: pypi:one==1.0/one-1.0-py3-none-any.whl is pinned by other digests now");
    write(
        dir.path(),
        "requirements.txt",
        &format!("one==1.0 --hash=sha256:{digest}\ntwo==2 --hash=sha256:{digest}\n"),
    );
    build(dir.path(), &server.clients()).ended(3).said("stale: pypi:two==2 is not locked");
    write(dir.path(), "requirements.txt", "one==1.0\n");
    build(dir.path(), &server.clients()).ended(3).said("requirements.txt:1").said("--hash=sha256");
}

#[test]
fn locking_a_source_archive_of_python_runs_nothing_of_it() {
    let server = Server::new();
    let dir = tempfile::tempdir().unwrap();
    let ran = dir.path().join("ran");
    let setup = format!("open({ran:?}, 'w')\n");
    let sdist =
        targz(&[("one-1.0/setup.py", &setup), ("one-1.0/PKG-INFO", "Name: one\nVersion: 1.0\n")]);
    let digest = server.pypi("one", "one-1.0.tar.gz", sdist);
    write(dir.path(), "requirements.txt", &format!("one==1.0 --hash=sha256:{digest}\n"));
    let build = "steps = [\"true\"]\nrequirements = [\"requirements.txt\"]";
    write(dir.path(), "countersign.toml", &recipe(HERE, "tools = [\"c\"]", build, ""));
    run_with(dir.path(), &["lock", "."], &server.clients()).ended(0);
    let lock = fs::read_to_string(dir.path().join("countersign.lock")).unwrap();
    assert!(lock.contains("pypi:one==1.0/one-1.0.tar.gz") && !ran.exists());
}

#[test]
fn crates_by_cargo_lock_go_the_whole_way() {
    let server = Server::new();
    server.krate("krate", "0.1.0", &[("src/lib.rs", "pub const TEXT: &str = \"hello\";\n")]);
    let dir = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"thing\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n\
                    [dependencies]\nkrate = \"0.1\"\n";
    write(dir.path(), "Cargo.toml", manifest);
    write(dir.path(), "src/main.rs", "fn main() { println!(\"{}\", krate::TEXT); }\n");
    let made = std::process::Command::new("cargo")
        .args(["generate-lockfile", "--quiet"])
        .current_dir(dir.path())
        .envs(server.clients())
        .status()
        .unwrap();
    assert!(made.success());
    let build = "steps = [\"cargo build --release --locked --offline\", \"cp target/release/thing thing\"]\n\
                 cargo-lock = [\"Cargo.lock\"]";
    let text = recipe(HERE, "tools = [\"rust\"]", build, "");
    let lock = whole_way(dir.path(), &text, &server.clients());
    assert!(lock.contains("\"crates:krate@0.1.0\"") && !lock.contains(server.host()), "{lock}");
}

#[test]
fn further_inputs_go_the_whole_way_and_what_is_stale_is_named() {
    let server = Server::new();
    let url = server.put("/data.bin", b"data\n".to_vec());
    server.npm("one", "1.0.0", "1");
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "fix.patch", "patch\n");
    let archive = targz(&[("thing-1/given", "given\n")]);
    let (sha256, source) = (Sha256::of(&archive), server.put("/thing.tar.gz", archive));
    let inputs = format!(
        "[inputs]\n\"deep/data\" = {{ url = \"{url}\", sha256 = \"{}\" }}\n\"one.tgz\" = {{ package = \
         \"npm:one@1.0.0\" }}\n\"fix.patch\" = {{ file = \"fix.patch\" }}\n",
        Sha256::of(b"data\n")
    );
    let source = format!("kind = \"archive\"\nurl = \"{source}\"\nsha256 = \"{sha256}\"");
    let steps = "steps = [\"cat given deep/data fix.patch > thing\", \"test -s one.tgz\"]";
    let text = recipe(&source, "tools = [\"c\"]", steps, &inputs);
    let lock = whole_way(dir.path(), &text, &server.clients());
    for name in [&url, "npm:one@1.0.0", "file:fix.patch"] {
        assert!(lock.contains(&format!("name = \"{name}\"")), "{name} {lock}");
    }

    write(dir.path(), "fix.patch", "another patch\n");
    build(dir.path(), &server.clients()).ended(3).said("stale: file:fix.patch is now");
    write(dir.path(), "fix.patch", "patch\n");
    let path = dir.path().join("countersign.lock");
    let at = lock.find("[[input]]").unwrap();
    fs::write(&path, format!("{}\n", &lock[..at])).unwrap();
    build(dir.path(), &server.clients()).ended(3).said("stale: ").said("is not locked");

    let over = text.replace("\"fix.patch\" = {", "\"given\" = {");
    write(dir.path(), "countersign.toml", &over);
    run_with(dir.path(), &["lock", "."], &server.clients()).ended(0);
    build(dir.path(), &server.clients()).ended(3).said("lies where the source has a file");
}

#[test]
fn a_registry_that_does_not_answer_is_told_with_a_hint_and_nothing_is_locked() {
    let server = Server::new();
    let dir = tempfile::tempdir().unwrap();
    let text = recipe(
        "kind = \"package\"\npackage = \"pypi:none==1\"",
        "tools = [\"c\"]",
        "steps = [\"true\"]",
        "",
    );
    write(dir.path(), "countersign.toml", &text);
    let ran = run_with(dir.path(), &["lock", "."], &server.clients()).ended(5);
    ran.said("pypi:none==1").said("no such package").said("hint:");
    let npm = text.replace("pypi:none==1", "npm:none@1.0.0");
    write(dir.path(), "countersign.toml", &npm);
    run_with(dir.path(), &["lock", "."], &server.clients())
        .ended(5)
        .said("npm:none@1.0.0")
        .said("hint:");
    assert!(!dir.path().join("countersign.lock").exists());
}
