//! The program as people meet it: the errors of a newcomer. What it signs is tested whole in `tests/keyless`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

fn run(args: &[&str]) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_countersign-keyless");
    let Output { status, stdout, stderr } = Command::new(program).args(args).output().unwrap();
    let told = String::from_utf8([stdout, stderr].concat()).unwrap();
    (status.code().unwrap(), told)
}

#[test]
fn an_instance_that_is_missing_or_not_secure_is_named_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("v.json"), "{}").unwrap();
    let plain = "rekor = \"http://log.example\"\ntrusted-root = \"root.json\"";
    std::fs::write(at("plain.toml"), plain).unwrap();
    for (file, says) in [("missing.toml", "missing.toml"), ("plain.toml", "http://log.example")] {
        let (instance, out, statement) = (at(file), at("out.json"), at("v.json"));
        for verb in [["sign", "--token-fd", "0"].as_slice(), &["log"]] {
            let args = [verb, &["--instance", &instance, "-o", &out, &statement]].concat();
            let (code, told) = run(&args);
            assert_eq!(code, 3, "{told}");
            assert!(told.contains(says) && told.contains("\nhint: "), "{told}");
        }
    }
    assert!(!dir.path().join("out.json").exists());
}

#[test]
fn a_signature_needs_a_token_from_a_file_or_a_descriptor() {
    let (code, told) = run(&["sign", "--instance", "i.toml", "-o", "o.json", "v.json"]);
    assert!(code == 2 && told.contains("--token-file"), "{told}");
    let (code, told) = run(&["sign", "--help"]);
    assert!(code == 0 && told.contains("--token-fd") && told.contains("public"), "{told}");
}
