//! Each thing that is varied: a build that depends on just that is told so.

use std::fs;

use crate::project::{GOOD_C, Project};

/// A variation, and a step whose output depends on it and on nothing else.
const TABLE: [(&str, &str); 24] = [
    ("path", "pwd > thing"),
    ("user", "id -u > thing"),
    ("hostname", "uname -n > thing"),
    ("domain", "cat /proc/sys/kernel/domainname > thing"),
    ("time", "date +%Y > thing"),
    (
        "midnight",
        "a=$(date +%F); sleep 3; [ $a = $(date +%F) ] && echo 1 > thing || echo 2 > thing",
    ),
    ("mtimes", "stat -c %Y d/a > thing"),
    ("cpus", "getconf _NPROCESSORS_ONLN > thing"),
    ("timezone", "date -d @0 +%H:%M > thing"),
    ("locale", r"printf 'z\nt\n' | sort > thing"),
    ("environment", "env | grep -c COUNTERSIGN > thing || :"),
    ("umask", "umask > thing"),
    ("home", "case $HOME in */home) echo 1;; *) echo 2;; esac > thing"),
    ("search-path", "echo $PATH > thing"),
    ("directory-order", "ls -U d > thing"),
    ("kernel", "uname -r > thing"),
    ("aslr", "cut -d- -f1 /proc/self/maps | head -n 1 > thing"),
    ("randomness", "head -c 8 /dev/urandom | od -An -tx1 > thing"),
    ("machine-id", "cat /etc/machine-id > thing"),
    ("memory", "grep MemTotal /proc/meminfo > thing"),
    ("disk", "stat -f -c %b . > thing"),
    ("file-system", "stat -c %s d > thing"),
    ("stdin", "[ -p /dev/stdin ] && echo 1 > thing || echo 2 > thing"),
    ("rlimits", "ulimit -n > thing"),
];

/// Few, quick and of different ways to vary; `.ci/full variations` tries all with everything varied.
const SAMPLE: [&str; 5] = ["locale", "kernel", "randomness", "mtimes", "file-system"];

const FILES: [(&str, &str); 3] = [("d/a", "a"), ("d/b", "b"), ("d/c", "c")];

fn guilty(found: &serde_json::Value) -> Vec<&str> {
    let all = found["guilty"].as_array();
    all.into_iter().flatten().map(|one| one["kind"].as_str().unwrap()).collect()
}

#[test]
fn a_build_that_depends_on_one_thing_is_told_which() {
    let everything = std::env::var_os("COUNTERSIGN_VARIATIONS").is_some();
    if everything {
        println!("| depends on | step | named | builds |\n|---|---|---|---|");
    }
    let mut wrong = Vec::new();
    for (kind, step) in TABLE {
        if !everything && !SAMPLE.contains(&kind) {
            continue;
        }
        let (found, builds) = looked_at(kind, step, everything);
        let named = guilty(&found).join(", ");
        let not = found["not-varied"].as_array().into_iter().flatten();
        if let Some(not) = not.into_iter().find(|not| not["kind"] == kind) {
            println!("| {kind} | not varied here: {} | | |", not["why"].as_str().unwrap());
            continue;
        }
        if everything {
            println!("| {kind} | `{}` | {named} | {builds} |", step.replace('|', "\\|"));
        }
        // Which member differs, and from which byte on.
        let difference = &found["guilty"][0]["comparison"]["differences"][0];
        let told = difference["member"] == "bin/thing" && difference["offset"].is_u64();
        if named != kind || !told || builds > 18 {
            wrong.push(format!("{kind}: {builds} builds, {found:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a check says of the step, and how many builds that took.
fn looked_at(kind: &str, step: &str, everything: bool) -> (serde_json::Value, usize) {
    let project = Project::new(&[step], &FILES);
    project.lock();
    let vary: Vec<&str> = TABLE
        .iter()
        .map(|(other, _)| *other)
        // A disk has an order of its own, which is the machine's.
        .filter(|other| kind != "directory-order" || *other != "file-system")
        .filter(|other| everything || [kind, "path", "umask"].contains(other))
        .collect();
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().to_str().unwrap();
    let ran = project.run(&["check", ".", "--json", "-o", dir, "--vary", &vary.join(",")]);
    let logs = fs::read_dir(out.path()).unwrap().flatten();
    let builds = logs.filter(|e| e.path().extension().is_some_and(|e| e == "log")).count();
    (ran.json(), builds)
}

#[test]
fn several_that_are_guilty_are_each_named_and_those_that_are_only_together() {
    let step =
        "umask > thing; case $(id -u)$(pwd) in 4321/other*) echo both;; *) echo no;; esac >> thing";
    let project = Project::new(&[step], &[]);
    project.lock();
    let vary = "path,user,hostname,umask,kernel,home";
    let ran = project.run(&["check", ".", "--vary", vary]).ended(1);
    ran.said("the bytes depend on umask\n")
        .said("the bytes depend on path, together with user")
        .said("the bytes depend on user, together with path");
}

#[test]
fn a_build_that_tells_the_time_of_a_file_it_made_is_told_so() {
    let project = Project::new(&["touch x; sleep 1; date -r x > thing"], &[]);
    project.lock();
    project.run(&["check", ".", "--vary", "umask,user"]).ended(1).said("the bytes depend on time");
}

#[test]
fn a_race_is_found_by_repetition_and_a_steady_build_is_said_to_be() {
    let race = "(echo a >> thing) & (echo b >> thing) & (echo c >> thing) & wait";
    let project = Project::new(&[race], &[]);
    project.lock();
    let found =
        project.run(&["check", ".", "--repeat", "60", "--seed", "7", "--json"]).ended(1).json();
    assert_eq!((&found["result"], &found["differed"]), (&"race".into(), &1.into()), "{found:#}");
    assert_eq!(found["seed"], 7);
    assert!(found["runs"].as_u64().unwrap() <= 60);
    assert_eq!(found["comparison"]["differences"][0]["member"], "bin/thing");

    let project = Project::new(&["(echo a) & wait; date +%s > thing; mktemp -u >> thing"], &[]);
    project.lock();
    project.run(&["check", ".", "--repeat", "2"]).ended(0).said("STEADY: none of 2");
    project.run(&["check", ".", "--repeat", "2", "--vary", "path"]).ended(2);
}

#[test]
fn randomness_that_the_recipe_holds_is_the_same_each_time_and_told_loudly() {
    let steps = ["head -c 8 /dev/urandom > thing; mktemp -u >> thing; mktemp -u >> thing"];
    let project = Project::with(&steps, &[], "random = \"held\"");
    let out = tempfile::tempdir().unwrap();
    let (first, second) = (out.path().join("1"), out.path().join("2"));
    let a = project.build(&first).ended(0).json();
    let b = project.build(&second).ended(0).json();
    assert_eq!(a["sha256"], b["sha256"]);
    let provenance = fs::read_to_string(first.join("provenance.json")).unwrap();
    let provenance: serde_json::Value = serde_json::from_str(&provenance).unwrap();
    let internal = &provenance["predicate"]["buildDefinition"]["internalParameters"];
    assert_eq!((&internal["random"], &internal["clock"]), (&"held".into(), &"real".into()));
    let ran = project.run(&["check", ".", "--vary", "randomness,umask"]).ended(0);
    ran.said("CAUTION: random = \"held\"")
        .said("not varied: randomness, because the recipe holds randomness")
        .said("do not depend on umask\n");
}

#[test]
fn a_build_for_this_machines_processor_is_warned_of() {
    let project = Project::new(&["cc -march=native -o thing thing.c"], &[("thing.c", GOOD_C)]);
    let out = tempfile::tempdir().unwrap();
    let built = project.build(out.path()).ended(0).json();
    assert!(built["native"][0].as_str().unwrap().contains("-march=native"), "{built:#}");
    project.run(&["check", ".", "--vary", "umask"]).ended(0).said("this machine's processor");
}
