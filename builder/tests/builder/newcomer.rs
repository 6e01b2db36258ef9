//! The errors that a newcomer meets: one sentence, a hint, an exit code; and what is stale is named.

use std::fs;

use crate::project::{GOOD_C, Project, run_in};

#[test]
fn a_missing_recipe_or_lock_is_told_with_the_next_step() {
    let empty = tempfile::tempdir().unwrap();
    run_in(empty.path(), &["lock", "."]).ended(3).said("nothing was locked: there is no recipe");
    run_in(empty.path(), &["check", "."]).ended(3).said("nothing was checked").said("hint:");
    let project = Project::new(&["true"], &[]);
    let ran = project.run(&["build", ".", "-o", "out"]).ended(3);
    ran.said("there is no lock").said("countersign-builder lock");
}

#[test]
fn a_malformed_recipe_is_told_with_file_line_and_field() {
    let project = Project::with(&["true"], &[], "step = 1");
    project.run(&["lock", "."]).ended(3).said("countersign.toml:13: ").said("step");
}

#[test]
fn a_stale_entry_of_the_lock_is_named() {
    let project = Project::new(&["true"], &[]);
    project.lock();
    let recipe = fs::read_to_string(project.path("countersign.toml")).unwrap();
    fs::write(project.path("countersign.toml"), format!("{recipe}# changed\n")).unwrap();
    let build = || project.run(&["build", ".", "-o", "out"]);
    build().ended(3).said("stale: recipe").said("countersign-builder lock");

    let with_lock = recipe.replace("[build]", "[build]\ncargo-lock = [\"Cargo.lock\"]");
    fs::write(project.path("countersign.toml"), with_lock).unwrap();
    fs::write(project.path("Cargo.lock"), "version = 4\n").unwrap();
    project.lock();
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let package = format!(
        "version = 4\n[[package]]\nname = \"dep\"\nversion = \"1.2.3\"\n\
         source = \"registry+x/crates.io-index\"\nchecksum = \"{digest}\"\n"
    );
    fs::write(project.path("Cargo.lock"), package).unwrap();
    build().ended(3).said("stale: crates:dep@1.2.3 is not locked");
    assert!(!project.path("out").exists());
}

#[test]
fn another_environment_than_the_locked_one_is_refused() {
    let project = Project::new(&["true"], &[]);
    project.lock();
    let path = project.path("countersign.lock");
    let text = fs::read_to_string(&path).unwrap();
    let at = text.find("sha256 = \"").unwrap() + 10;
    let other = format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..]);
    fs::write(&path, other).unwrap();
    project.run(&["build", ".", "-o", "out"]).ended(3).said("stale: environment");
}

#[test]
fn a_package_that_is_not_installed_is_told_with_how_to_install_it() {
    let project = Project::new(&["true"], &[]);
    let recipe = fs::read_to_string(project.path("countersign.toml")).unwrap();
    let recipe = recipe.replace("tools", "packages = [\"no-such-package\"]\ntools");
    fs::write(project.path("countersign.toml"), recipe).unwrap();
    let ran = project.run(&["lock", "."]).ended(7);
    ran.said("not installed: no-such-package").said("apt-get install no-such-package");
}

#[test]
fn a_failed_step_is_told_with_the_end_of_its_log() {
    let project =
        Project::new(&["cc -o thing thing.c"], &[("thing.c", "int main(void) { return x; }")]);
    let out = tempfile::tempdir().unwrap();
    let ran = project.build(out.path()).ended(3);
    ran.said("step 1 (cc -o thing thing.c) failed with exit code 1")
        .said("undeclared")
        .said("build.log");
}

#[test]
fn errors_are_one_document_for_programs() {
    let project = Project::new(&["true"], &[("thing.c", GOOD_C)]);
    let told = project.run(&["build", ".", "-o", "out", "--json"]).ended(3).json();
    assert_eq!(told["exit"], 3);
    assert!(told["hint"].as_str().unwrap().contains("countersign-builder lock"));
}
