//! Sources and releases made to deceive or to harm whoever builds them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::project::{Project, Ran, run_in};

/// A built release with a `[node]`, in `DIR/release`.
fn built_node() -> tempfile::TempDir {
    let project = Project::new(&["[ \"$USER\" = build ] || sleep 1000; echo good > thing"], &[]);
    let recipe = fs::read_to_string(project.path("countersign.toml")).unwrap();
    let node =
        "[node]\ncommand = [\"bin/thing\", \"--safe\"]\nlisten = { http = \"127.0.0.1:1\" }\n";
    fs::write(project.path("countersign.toml"), format!("{recipe}\n{node}")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    project.build(&dir.path().join("release")).ended(0);
    dir
}

fn rebuild(dir: &Path, more: &[&str]) -> Ran {
    let arguments = ["rebuild", "--release", "release", "-o", "mine"];
    run_in(dir, &[&arguments, more].concat())
}

fn edit(dir: &Path, edit: impl FnOnce(&mut Value)) {
    let path = dir.join("release/release.json");
    let mut release: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut release);
    fs::write(&path, release.to_string()).unwrap();
}

#[test]
fn a_release_that_says_anything_else_than_its_recipe_is_refused_by_the_fields_name() {
    let dir = built_node();
    let path = dir.path().join("release/release.json");
    let honest = fs::read(&path).unwrap();
    let input = json!({ "name": "more", "sha256": "0".repeat(64), "length": 1 });
    for (field, forged) in [
        ("version", json!("1.0.1")),
        ("notes", json!("Nothing to see")),
        ("urgency", json!("urgent")),
        ("revokes", json!(["0.9.0"])),
        ("actions", json!({ "do": "Anything" })),
        ("follows", json!("0.1.0")),
        ("protocol", json!([1, 9])),
        ("inputs", json!([input])),
    ] {
        edit(dir.path(), |release| release[field] = forged);
        rebuild(dir.path(), &[]).ended(6).said(&format!("the release's {field} is not"));
        fs::write(&path, &honest).unwrap();
    }
    for (field, forged) in [
        ("command", json!(["bin/thing", "--evil"])),
        ("connects-to", json!(["evil.example.org:443"])),
        ("environment", json!({ "EVIL": "1" })),
    ] {
        edit(dir.path(), |release| release["node"][field] = forged);
        let ran = rebuild(dir.path(), &["--other-environment"]);
        ran.ended(6).said(&format!("the release's node.{field}"));
        fs::write(&path, &honest).unwrap();
    }
    edit(dir.path(), |release| release["node"]["command"] = json!(["../../bin/sh"]));
    rebuild(dir.path(), &[]).ended(3).said("not a path inside the artifact");
    fs::write(&path, &honest).unwrap();
    edit(dir.path(), |release| release["platform"] = json!("riscv64-unknown-linux-gnu"));
    rebuild(dir.path(), &[]).ended(7).said("the release is for riscv64");
    assert!(!dir.path().join("mine/verdict.json").exists());
    fs::write(&path, &honest).unwrap();
    rebuild(dir.path(), &[]).ended(0).said("REPRODUCED");
}

#[test]
fn a_link_or_pipe_in_place_of_a_drafts_files_is_neither_followed_nor_waited_for() {
    let dir = built_node();
    edit(dir.path(), |release| release["artifact"]["sha256"] = json!("0".repeat(64)));
    let release = dir.path().join("release");
    let artifact = fs::read_dir(&release).unwrap().flatten().map(|entry| entry.path());
    let artifact = artifact.into_iter().find(|path| path.extension().is_some_and(|e| e == "zst"));
    let artifact = artifact.unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::remove_file(&artifact).unwrap();
    symlink("../secret", &artifact).unwrap();
    rebuild(dir.path(), &[]).ended(1).said("DIVERGENCE");
    for entry in fs::read_dir(dir.path().join("mine")).unwrap().flatten() {
        assert!(fs::read(entry.path()).unwrap() != b"secret", "{:?}", entry.path());
    }
    fs::remove_file(&artifact).unwrap();
    assert!(Command::new("mkfifo").arg(&artifact).status().unwrap().success());
    rebuild(dir.path(), &[]).ended(1).said("DIVERGENCE");
    fs::remove_file(release.join("release.json")).unwrap();
    assert!(Command::new("mkfifo").arg(release.join("release.json")).status().unwrap().success());
    rebuild(dir.path(), &[]).ended(3).said("is no release");
}

#[test]
fn a_kept_tree_goes_to_its_place_only_and_replaces_a_link_there() {
    let work = tempfile::tempdir().unwrap();
    let victim = work.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let step = format!(
        "ln -s {0} /countersign/out/kept; ln -s {0} kept; echo x > evil; mkfifo pipe; exit 3",
        victim.display()
    );
    let project = Project::new(&[&step], &[("a", "a")]);
    project.lock();
    let out = work.path().join("out");
    fs::create_dir(&out).unwrap();
    symlink(victim.join("through"), out.join("kept.tar")).unwrap();
    let ran = project.run(&["build", ".", "-o", out.to_str().unwrap(), "--keep"]);
    ran.ended(3).said("step 1").said("exit code 3");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    let kept = out.join("kept.tar");
    assert!(kept.symlink_metadata().unwrap().is_file());
    let listed = Command::new("tar").arg("-tf").arg(&kept).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&listed).contains("src/evil"));
}

#[test]
fn what_a_build_puts_in_the_way_of_the_builder_hangs_nobody() {
    let step = "rm -f /countersign/out/step; mkfifo /countersign/out/step; exit 3";
    let project = Project::new(&[step], &[]);
    let out = tempfile::tempdir().unwrap();
    project.build(out.path()).ended(3).said("step 1");
    let lies = "printf '\\001\\002countersign\\002\\001outputs\\nno tar'; echo x > thing";
    let project = Project::new(&[lies], &[]);
    project.build(out.path()).ended(3).said("what no artifact may hold");
    let pipe = Project::new(&["mkfifo thing"], &[]);
    pipe.build(out.path()).ended(3).said("bin/thing").said("pipe");
}

#[test]
fn locking_runs_nothing_that_the_source_names() {
    let package = format!(
        "version = 4\n[[package]]\nname = \"no-such-crate-of-ours\"\nversion = \"1.2.3\"\n\
         source = \"registry+x/crates.io-index\"\nchecksum = \"{}\"\n",
        "0".repeat(64)
    );
    let files = [
        ("Cargo.lock", package.as_str()),
        ("Cargo.toml", "[package]\nname = \"own\"\nversion = \"1.0.0\"\n"),
        (".cargo/config.toml", "[build]\nrustc = \"evil/bin/rustc\"\n"),
        ("rust-toolchain.toml", "[toolchain]\npath = \"evil\"\n"),
        ("src/lib.rs", ""),
    ];
    let project = Project::with(&["true"], &files, "cargo-lock = [\"Cargo.lock\"]");
    let recipe = fs::read_to_string(project.path("countersign.toml")).unwrap();
    fs::write(project.path("countersign.toml"), recipe.replace("\"c\"", "\"rust\"")).unwrap();
    let ran = project.path("ran");
    fs::create_dir_all(project.path("evil/bin")).unwrap();
    let rustc = project.path("evil/bin/rustc");
    fs::write(&rustc, format!("#!/bin/sh\ntouch {}\nexec rustc \"$@\"\n", ran.display())).unwrap();
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-builder"));
    command.args(["lock", "."]).current_dir(project.dir.path());
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    let output = command.env("CARGO_NET_OFFLINE", "true").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no-such-crate-of-ours"), "{text}");
    assert!(!ran.exists(), "{text}");
}

#[test]
fn a_hostile_log_cannot_command_the_terminal() {
    let step = "printf '\\033[2Jcleared\\r'; : \u{1b}[31m; exit 1";
    let project = Project::new(&["true"], &[]);
    let recipe = fs::read_to_string(project.path("countersign.toml")).unwrap();
    let step = step.replace('\\', "\\\\").replace('\u{1b}', "\\u001b");
    let recipe = recipe.replace("'''true'''", &format!("\"{step}\""));
    fs::write(project.path("countersign.toml"), recipe).unwrap();
    project.lock();
    let ran = project.run(&["build", ".", "-o", "out"]).ended(3).said("cleared");
    assert!(!ran.err.contains(['\u{1b}', '\r']), "{:?}", ran.err);
}

#[test]
fn a_ceiling_of_the_rebuilders_ends_a_build_without_a_verdict() {
    let dir = built_node();
    let ran = rebuild(dir.path(), &["--vary", "user", "--wall", "1"]);
    ran.ended(7).said("ceiling of 1 seconds").said("--wall");
}

#[test]
fn a_signal_ends_a_build_and_leaves_no_scratch() {
    let project = Project::new(&["echo begun; sleep 1000"], &[]);
    project.lock();
    let scratch = tempfile::tempdir().unwrap();
    let mut build = Command::new(env!("CARGO_BIN_EXE_countersign-builder"))
        .args(["build", ".", "-o", "out"])
        .current_dir(project.dir.path())
        .env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let begun = || {
        let log = fs::read_to_string(project.path("out/build.log")).unwrap_or_default();
        log.contains("begun\n")
    };
    while !begun() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let has_begun = begun();
    let killed = Command::new("kill").args(["-TERM", &build.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(build.wait().unwrap().code(), Some(8));
    assert!(has_begun);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_file_is_told_with_what_is_wanted_instead() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("junk"), "{}").unwrap();
    let from = |root: &str| {
        let arguments = ["rebuild", "--repository", ".", "--root", root, "--product", "thing"];
        run_in(dir.path(), &[&arguments[..], &["--version", "1.0.0", "-o", "mine"]].concat())
    };
    from("nope").ended(3).said("hint: --root takes");
    from("junk").ended(3).said("hint: --root takes");
    let identity = ["rebuild", "--release", ".", "-o", "mine", "--identity-file", "nope"];
    run_in(dir.path(), &identity).ended(3).said("hint: --identity-file takes");
    run_in(dir.path(), &["compare", "nope", "junk"]).ended(3).said("hint: compare takes");
}

#[test]
fn a_reader_that_hangs_up_is_no_error() {
    let mut man = Command::new(env!("CARGO_BIN_EXE_countersign-builder"))
        .arg("man")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(man.stdout.take());
    let ended = man.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
