//! What a build can see and touch, and that its bytes do not depend on the machine.

use std::fs;

use countersign_builder::pack::{Cap, Strip, unpack};

use crate::project::{GOOD_C, Project};

const CC: &str = "cc -o thing thing.c";

#[test]
fn a_c_project_builds_to_the_same_bytes_under_every_variation() {
    let project = Project::new(&[CC], &[("thing.c", GOOD_C)]);
    project.lock();
    let checked = project.run(&["check", ".", "--json"]).ended(0).json();
    assert_eq!(checked["result"], "equal");
    let not_varied = checked["not-varied"].as_array().map_or(0, Vec::len);
    assert_eq!(checked["varied"].as_array().unwrap().len() + not_varied, 24, "{checked:#}");
}

#[test]
fn an_exported_tree_builds_the_same_file_with_nothing_from_outside() {
    let project = Project::new(&[CC], &[("thing.c", GOOD_C)]);
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    project.build(&work.path().join("built")).ended(0);
    project.run(&["export", ".", "-o", &at("context")]).ended(0);
    project.run(&["export", ".", "-o", &at("context")]).ended(3).said("is there already");

    let root = at("context/root");
    let container = ["--user", "--map-root-user", "chroot", &root, "/bin/sh", "/build/run"];
    let ran = std::process::Command::new("unshare").args(container).status().unwrap();
    assert!(ran.success());
    let unpacked = work.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let platform = project.run(&["platform"]).ended(0).out;
    let artifact = at(&format!("built/thing-1.0.0-{}.tar.zst", platform.trim()));
    let artifact = countersign_builder::pack::open(artifact.as_ref()).unwrap();
    unpack(artifact, &unpacked, Cap::default(), Strip::Nothing).unwrap();
    let built = fs::read(unpacked.join("bin/thing")).unwrap();
    assert!(built == fs::read(at("context/root/artifact/bin/thing")).unwrap());
}

#[test]
fn a_planted_date_is_found_and_named() {
    let text = "#include <stdio.h>\nint main(void) { puts(__DATE__ \" \" __TIME__); return 0; }\n";
    // gcc takes the date of __DATE__ from SOURCE_DATE_EPOCH where it is set.
    let project =
        Project::new(&["unset SOURCE_DATE_EPOCH; cc -o thing thing.c"], &[("thing.c", text)]);
    project.lock();
    let ran = project.run(&["check", ".", "--vary", "path,time"]).ended(1);
    ran.said("the bytes depend on time").said("bin/thing").said("a date of the build");
    let out = tempfile::tempdir().unwrap();
    let (one, two) = (out.path().join("one"), out.path().join("two"));
    project.build(&one).ended(0);
    let rebuild = |vary: &str| {
        let release = one.to_str().unwrap();
        project.run(&["rebuild", "--release", release, "-o", two.to_str().unwrap(), "--vary", vary])
    };
    rebuild("time").ended(1).said("DIVERGENCE").said("a date of the build");
}

#[test]
fn a_clock_that_the_recipe_holds_cures_a_date() {
    let project = Project::with(&["date > thing"], &[], "clock = \"held\"");
    project.lock();
    project.run(&["check", ".", "--vary", "time,timezone,cpus"]).ended(1).said("timezone");
    project.run(&["check", ".", "--vary", "time,cpus"]).ended(0).said("EQUAL");
}

#[test]
fn a_build_that_depends_on_its_path_is_told_so_and_cured_by_a_recipe_line() {
    let files = [("thing.c", "const char *f = __FILE__;\nint main(void) { return f[0]; }\n")];
    let project = Project::new(&["cc -g -o thing \"$PWD/thing.c\""], &files);
    project.lock();
    let found = project.run(&["check", ".", "--vary", "path,user,umask", "--json"]).ended(1).json();
    let guilty: Vec<&str> =
        found["guilty"].as_array().unwrap().iter().map(|g| g["kind"].as_str().unwrap()).collect();
    assert_eq!(guilty, ["path"]);
    let step = "cc -g -ffile-prefix-map=\"$PWD\"=. -o thing \"$PWD/thing.c\"";
    let cured = Project::new(&[step], &files);
    cured.lock();
    cured.run(&["check", ".", "--vary", "path,user,umask"]).ended(0);
}

#[test]
fn a_build_cannot_reach_the_network() {
    let step = "bash -c 'exec 3<>/dev/tcp/192.0.2.1/80'";
    let project = Project::new(&[step, "touch thing"], &[]);
    let out = tempfile::tempdir().unwrap();
    let ended = project.build(out.path()).ended(3);
    ended.said("step 1").said("Network is unreachable").said("192.0.2.1 port 80 (TCP), by bash");
    assert!(!out.path().join("release.json").exists());
}

#[test]
fn a_build_cannot_write_to_its_inputs() {
    let writes = "for f in /usr/x /bin/x /countersign/x /countersign/run /x; do \
                  if echo x 2>/dev/null > $f; then echo wrote $f; exit 1; fi; done";
    let project = Project::new(&[writes, "echo ok > thing"], &[]);
    let out = tempfile::tempdir().unwrap();
    project.build(out.path()).ended(0);
}

#[test]
fn what_a_build_leaves_running_is_gone_when_it_ends() {
    let leave = "echo good > thing; (setsid sleep 2718281 > /dev/null 2>&1 &) ; \
                 (while :; do echo bad >> thing; done) > /dev/null 2>&1 &";
    let project = Project::new(&[leave, "echo good > thing; sleep 0"], &[]);
    let out = tempfile::tempdir().unwrap();
    project.build(out.path()).ended(0);
    let running = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("2718281"))
    });
    assert!(!running);
}

#[test]
fn a_build_that_forks_or_writes_without_end_is_stopped() {
    let forks = "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i + 1)); done";
    let project = Project::with(&[forks], &[], "limits = { processes = 32 }");
    let out = tempfile::tempdir().unwrap();
    project.build(out.path()).ended(3).said("step 1");

    let fills = "dd if=/dev/zero of=big bs=1M count=64";
    let project = Project::with(&[fills], &[], "limits = { scratch-mib = 8 }");
    project.build(out.path()).ended(3).said("step 1");

    let hands_over =
        "i=0; while :; do i=$((i + 1)); head -c 1000000 /dev/zero > /countersign/out/x$i; done";
    let project = Project::with(&[hands_over], &[], "limits = { scratch-mib = 8 }");
    project.build(out.path()).ended(3).said("No space left");

    // What is written where nobody can look: to a file without a name, below a closed directory.
    let hides = "mkdir /countersign/out/d; exec 5> /countersign/out/d/f; rm /countersign/out/d/f; \
                 chmod 0 /countersign/out/d; head -c 64000000 /dev/zero >&5";
    let project = Project::with(&[hides], &[], "limits = { scratch-mib = 8 }");
    project.build(out.path()).ended(3).said("File size limit");

    let floods = "printf '\\001\\002countersign\\002\\001outputs\\n'; cat /dev/zero";
    let project = Project::with(&[floods], &[], "limits = { scratch-mib = 8 }");
    project.build(out.path()).ended(3).said("scratch-mib");

    let project = Project::with(&["sleep 1000"], &[], "limits = { wall-seconds = 1 }");
    project.build(out.path()).ended(3).said("wall-seconds");
}

#[test]
fn a_build_sees_fixed_surroundings() {
    let told = "(id -un; hostname; pwd; umask; echo $HOME $LANG $TZ $SOURCE_DATE_EPOCH; nproc; ls -l) > thing";
    let project = Project::new(&[told], &[("b", "b"), ("a", "a")]);
    let out = tempfile::tempdir().unwrap();
    let (first, second) = (out.path().join("1"), out.path().join("2"));
    let a = project.build(&first).ended(0).json();
    let b = project.build(&second).ended(0).json();
    assert_eq!(a["sha256"], b["sha256"]);
    let log = fs::read_to_string(first.join("build.log")).unwrap();
    assert!(log.starts_with("+ (id -un"), "{log}");
}

#[test]
fn an_output_that_no_step_makes_is_named() {
    let project = Project::new(&["true"], &[]);
    let out = tempfile::tempdir().unwrap();
    project.build(out.path()).ended(3).said("no step made the output").said("bin/thing");
}
