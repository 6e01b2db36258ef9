//! Builds that fork, fill, linger or write where they must not: contained, named, and gone afterwards.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::project::{Project, cache, run_in};

/// Longest that a test waits for what happens at once.
const CAP: Duration = Duration::from_secs(120);

fn is_running(word: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(word))
    })
}

#[track_caller]
fn is_gone(word: &str) {
    let end = Instant::now() + CAP;
    while is_running(word) {
        assert!(Instant::now() < end, "{word} is still running");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn has_memory_limit() -> bool {
    countersign_sandbox::capabilities()
        .iter()
        .any(|one| one.name == "memory limit" && one.missing.is_none())
}

#[test]
fn a_build_that_forks_for_ever_ends_at_its_limits_with_all_that_it_forked() {
    let step = "perl -e '$SIG{TERM} = \"IGNORE\"; \
                while (1) { my $p = fork; exec \"sleep\", \"3141593\" if defined $p && !$p }'";
    let limits = "limits = { processes = 48, wall-seconds = 3 }";
    let project = Project::with(&[step], &[], limits);
    let out = tempfile::tempdir().unwrap();
    project.build(out.path()).ended(3).said("build.limits.wall-seconds");
    is_gone("3141593");
    assert!(!out.path().join("release.json").exists());
}

#[test]
fn a_build_that_fills_every_place_it_may_write_fills_no_other() {
    let fills = "for d in . /tmp \"$HOME\" /countersign/out /dev/shm; do \
                 head -c 40000000 /dev/zero > $d/big 2> /dev/null && [ $d != . ] && echo filled $d; done; exit 3";
    let project = Project::with(&[fills], &[], "limits = { scratch-mib = 16 }");
    let out = tempfile::tempdir().unwrap();
    let ran = project.build(out.path()).ended(3).said("step 1");
    assert!(!ran.err.contains("filled"), "{}", ran.err);
}

#[test]
fn a_build_cannot_change_what_it_was_given_by_any_way() {
    let writes = "for f in /countersign/source.tar /countersign/run /countersign/cargo.toml /usr/bin/env /etc/passwd; do \
                  [ -e $f ] || continue; \
                  for how in 'echo x > $f' 'chmod 777 $f' 'rm -f $f' 'mv $f $f.x' 'ln -f thing $f' 'touch $f' \
                  'mount --bind thing $f' 'truncate -s 0 $f'; do \
                  if (eval \"$how\") 2> /dev/null; then echo \"$how did it to $f\"; fi; done; done > did; \
                  if [ -s did ]; then cat did; exit 7; fi; echo ok > thing";
    let project = Project::new(&["echo x > thing", writes], &[]);
    let out = tempfile::tempdir().unwrap();
    project.build(out.path()).ended(0);
    // And what they came from is what it was.
    for entry in fs::read_dir(cache().join("countersign/inputs")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 64 {
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            assert_eq!(countersign_metadata::Sha256::of(&bytes).to_string(), name);
        }
    }
}

#[test]
fn a_daemon_that_holds_the_log_open_is_gone_with_the_build() {
    let step =
        "(trap '' TERM HUP; setsid sh -c 'while :; do sleep 2236067; done' &); echo ok > thing";
    let project = Project::new(&[step], &[]);
    let out = tempfile::tempdir().unwrap();
    project.build(out.path()).ended(0);
    is_gone("2236067");
}

#[test]
fn memory_beyond_the_recipes_limit_did_not_build_and_beyond_the_machines_is_its_ceiling() {
    if !has_memory_limit() {
        return;
    }
    let hungry = "perl -e '$x = \"x\" x 150000000; print length $x' > thing";
    let dir = tempfile::tempdir().unwrap();
    let own = Project::with(&[hungry], &[], "limits = { memory-mib = 64 }");
    own.build(&dir.path().join("own")).ended(3).said("64 MiB of memory (build.limits.memory-mib)");
    let free = Project::new(&[hungry], &[]);
    free.build(&dir.path().join("release")).ended(0);
    let rebuild = ["rebuild", "--release", "release", "-o", "mine", "--memory", "64"];
    let ran = run_in(dir.path(), &rebuild).ended(7);
    ran.said("machine's ceiling of 64 MiB of memory (--memory)").said("allow more with --memory");
    assert!(!Path::new(&dir.path().join("mine/verdict.json")).exists());
}
