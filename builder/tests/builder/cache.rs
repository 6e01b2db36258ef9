//! The cache from the outside: listed, verified, mended by the next run, and pruned only when nobody uses it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::project::{GOOD_C, Project, Ran, run_with};

fn program(tree: &Path) -> PathBuf {
    let gcc = fs::read_dir(tree.join("usr/bin")).unwrap().map(|entry| entry.unwrap().path());
    gcc.filter(|path| path.is_file() && !path.is_symlink()).min().unwrap()
}

#[test]
fn a_damaged_environment_is_named_and_mended_and_nothing_is_pruned_below_a_build() {
    let cache = tempfile::tempdir().unwrap();
    let own = [("XDG_CACHE_HOME".to_owned(), cache.path().to_str().unwrap().to_owned())];
    let slow = "cc -o thing main.c; if [ -e wait ]; then sleep 1000; fi";
    let project = Project::new(&[slow], &[("main.c", GOOD_C)]);
    let run = |words: &[&str]| -> Ran { run_with(project.dir.path(), words, &own) };
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    run(&["lock", "."]).ended(0);
    run(&["build", ".", "-o", out]).ended(0);

    let listed = run(&["cache", "list", "--json"]).ended(0).json();
    let all = listed.as_array().unwrap();
    let tree = all.iter().find(|one| one["kind"] == "environment").unwrap();
    let sha256 = tree["sha256"].as_str().unwrap().to_owned();
    assert!(tree["bytes"].as_u64().unwrap() > 1 << 20, "{tree}");
    run(&["cache", "verify"]).ended(0).said("everything is what its name says");

    let damaged = program(&cache.path().join("countersign/environments").join(&sha256));
    fs::set_permissions(&damaged, fs::Permissions::from_mode(0o755)).unwrap();
    fs::OpenOptions::new().append(true).open(&damaged).unwrap().write_all(b"evil").unwrap();
    fs::set_permissions(&damaged, fs::Permissions::from_mode(0o555)).unwrap();
    run(&["cache", "verify"]).ended(1).said(&sha256);
    run(&["build", ".", "-o", out]).ended(0);
    run(&["cache", "verify"]).ended(0);

    fs::write(project.path("wait"), "").unwrap();
    run(&["lock", "."]).ended(0);
    // What the builds before said is not what this one says.
    fs::remove_file(Path::new(out).join("build.log")).unwrap();
    let mut building = Command::new(env!("CARGO_BIN_EXE_countersign-builder"))
        .args(["build", ".", "-o", out])
        .current_dir(project.dir.path())
        .envs(own.iter().cloned())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    while !fs::read_to_string(Path::new(out).join("build.log"))
        .is_ok_and(|log| log.contains("sleep"))
    {
        assert!(began.elapsed().as_secs() < 60, "the build does not begin");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    run(&["cache", "prune", "--days", "0"]).ended(8).said("another run uses the cache");
    building.kill().unwrap();
    building.wait().unwrap();

    run(&["cache", "prune", "--days", "0", "--dry-run"]).ended(0).said("would be removed");
    run(&["cache", "prune", "--days", "0"]).ended(0).said("removed");
    assert_eq!(run(&["cache", "list", "--json"]).json(), serde_json::json!([]));
    let left = fs::read_dir(cache.path().join("countersign/environments")).unwrap().count();
    assert_eq!(left, 0);
    fs::remove_file(project.path("wait")).unwrap();
    run(&["lock", "."]).ended(0);
    run(&["build", ".", "-o", out]).ended(0);
}
