//! From a release alone to a verdict; from a damaged one to a refusal.

use std::fs;
use std::path::{Path, PathBuf};

use crate::project::{GOOD_C, Project, Ran, run_in};
use serde_json::Value;

const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

struct Built {
    dir: tempfile::TempDir,
    release: PathBuf,
}

fn built() -> Built {
    let project = Project::new(&["cc -o thing thing.c"], &[("thing.c", GOOD_C)]);
    let dir = tempfile::tempdir().unwrap();
    let release = dir.path().join("release");
    project.build(&release).ended(0);
    Built { dir, release }
}

impl Built {
    fn rebuild(&self, more: &[&str]) -> Ran {
        let out = self.dir.path().join("mine");
        let mut arguments = vec!["rebuild", "--release", self.release.to_str().unwrap()];
        arguments.extend(["-o", out.to_str().unwrap(), "--json", "--identity", KEY]);
        arguments.extend(more);
        run_in(self.dir.path(), &arguments)
    }

    fn verdict(&self) -> Value {
        let text = fs::read(self.dir.path().join("mine/verdict.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let path = self.release.join("release.json");
        let mut release: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut release);
        fs::write(&path, serde_json::to_vec(&release).unwrap()).unwrap();
    }

    fn field(&self, pointer: &str) -> String {
        let text = fs::read(self.release.join("release.json")).unwrap();
        let release: Value = serde_json::from_slice(&text).unwrap();
        release.pointer(pointer).unwrap().as_str().unwrap().to_owned()
    }
}

#[test]
fn a_release_is_reproduced_from_what_is_stored_with_it() {
    let built = built();
    let told = built.rebuild(&["--vary", "all"]).ended(0).json();
    assert_eq!(told["outcome"]["verdict"], "reproduced");
    assert_eq!(told["published"], told["rebuilt"]);
    let verdict = built.verdict();
    assert_eq!(verdict["predicate"]["verificationResult"], "PASSED");
    assert_eq!(verdict["predicate"]["verifier"]["id"], format!("minisign:{KEY}"));
    let mine = built.dir.path().join("mine");
    assert!(mine.join("build.log").exists() && !mine.join("verdict.dsse.json").exists());
}

#[test]
fn other_bytes_are_a_divergence_with_the_other_digest() {
    let built = built();
    let true_digest = built.field("/artifact/sha256");
    built.edit(|release| release["artifact"]["sha256"] = "0".repeat(64).into());
    let told = built.rebuild(&[]).ended(1).json();
    assert_eq!(told["outcome"]["verdict"], "divergence");
    assert_eq!(told["outcome"]["sha256"], true_digest);
    assert_eq!(built.verdict()["predicate"]["verificationResult"], "FAILED");
}

#[test]
fn a_release_that_does_not_build_is_told_apart_from_one_that_differs() {
    let project = Project::new(&["[ \"$USER\" = build ] && touch thing"], &[]);
    let dir = tempfile::tempdir().unwrap();
    let release = dir.path().join("release");
    project.build(&release).ended(0);
    let built = Built { dir, release };
    let told = built.rebuild(&["--vary", "user"]).ended(1).json();
    assert_eq!(told["outcome"]["verdict"], "did-not-build");
    let reason = built.verdict();
    let reason = reason["predicate"]["countersign"]["outcome"]["reason"].as_str().unwrap();
    assert!(reason.contains("step 1"), "{reason}");
}

#[test]
fn a_missing_or_altered_input_is_refused_by_name() {
    let built = built();
    let inputs = built.release.join("inputs");
    // The shared cache of the tests knows the source; an empty one does not.
    let fresh = |more: &[&str]| {
        let out = built.dir.path().join("mine");
        let release = built.release.to_str().unwrap();
        let mut arguments = vec!["rebuild", "--release", release, "-o", out.to_str().unwrap()];
        arguments.extend(more);
        let cache = tempfile::tempdir().unwrap();
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_countersign-builder"))
            .args(arguments)
            .env("XDG_CACHE_HOME", cache.path())
            .output()
            .unwrap();
        (ran.status.code().unwrap(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let source = inputs.join(built.field("/source/sha256"));
    let good = fs::read(&source).unwrap();
    fs::write(&source, [&good[..], b"x"].concat()).unwrap();
    let (code, text) = fresh(&[]);
    assert!(code == 6 && text.contains("source is not what was locked"), "{code} {text}");
    fs::remove_file(&source).unwrap();
    let (code, text) = fresh(&[]);
    assert!(code == 3 && text.contains("source") && text.contains("--inputs"), "{code} {text}");
}

#[test]
fn another_environment_is_refused_by_name_unless_it_is_asked_for() {
    let built = built();
    // The recipe and lock still name the true one, so the release contradicts its lock.
    built.edit(|release| release["environment"]["sha256"] = "0".repeat(64).into());
    built.rebuild(&[]).ended(6).said("contradicts its lock");
}

#[test]
fn what_is_no_release_is_told_with_what_is() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run_in(dir.path(), &["rebuild", "--release", ".", "-o", "mine"]);
    ran.ended(3).said("is no release").said("hint:");
    let ran = run_in(Path::new("/"), &["rebuild", "-o", "mine"]);
    ran.ended(2);
}

#[test]
fn a_verdict_that_will_be_signed_keyless_is_by_nobody_yet() {
    let built = built();
    let out = built.dir.path().join("mine");
    let release = built.release.to_str().unwrap();
    let arguments = ["rebuild", "--release", release, "-o", out.to_str().unwrap(), "--keyless"];
    run_in(built.dir.path(), &arguments).ended(0);
    let verdict = built.verdict();
    assert_eq!(verdict["predicate"]["verifier"]["id"], "urn:countersign:unsigned-builder");
    assert_eq!(verdict["predicate"]["verificationResult"], "PASSED");
    built.rebuild(&["--keyless"]).ended(2);
}
