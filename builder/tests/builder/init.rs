//! `init` writes a recipe that locks and builds as it is, for a small project of each kind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::project::{GOOD_C, run_in, run_with};
use crate::serve::Server;

const SMALL: &str = "int main(void) { return 0; }\n";

/// Writes a recipe for these files, locks, builds; the members of the artifact.
fn built(files: &[(&str, &str)]) -> Vec<String> {
    built_with(files, &[])
}

fn built_with(files: &[(&str, &str)], clients: &[(String, String)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    run_in(dir.path(), &["init"]).ended(0).said("project: thing 1.2.3");
    let written = fs::read(dir.path().join("countersign.toml")).unwrap();
    run_in(dir.path(), &["init"]).ended(3).said("is there already");
    assert_eq!(fs::read(dir.path().join("countersign.toml")).unwrap(), written);
    run_with(dir.path(), &["lock"], clients).ended(0);
    let out = tempfile::tempdir().unwrap();
    let told = run_in(dir.path(), &["build", "-o", out.path().to_str().unwrap(), "--json"])
        .ended(0)
        .json();
    let artifact = told["artifact"].as_str().unwrap().to_owned();
    members(Path::new(&artifact))
}

fn members(artifact: &Path) -> Vec<String> {
    let listed = Command::new("tar").arg("-tf").arg(artifact).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_first_recipe_for_a_cargo_project_builds() {
    let manifest = "[package]\nname = \"thing\"\nversion = \"1.2.3\"\nedition = \"2021\"\n";
    let lock = "version = 4\n\n[[package]]\nname = \"thing\"\nversion = \"1.2.3\"\n";
    let main = "fn main() {}\n";
    let members = built(&[("Cargo.toml", manifest), ("Cargo.lock", lock), ("src/main.rs", main)]);
    assert!(members.contains(&"bin/thing".to_owned()), "{members:?}");
}

#[test]
fn a_first_recipe_for_a_project_with_a_makefile_builds() {
    let makefile = "VERSION = 1.2.3\nPROG = thing\n$(PROG): thing.c\n\tcc -o $@ thing.c\n";
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("thing");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("Makefile"), makefile).unwrap();
    fs::write(place.join("thing.c"), GOOD_C).unwrap();
    run_in(&place, &["init", "."]).ended(0).said("a Make project: thing 1.2.3");
    run_in(&place, &["lock"]).ended(0);
    let out = dir.path().join("out");
    run_in(&place, &["build", "-o", out.to_str().unwrap()]).ended(0);
    assert!(out.join("release.json").exists());
}

#[test]
fn a_first_recipe_for_an_autotools_project_builds() {
    let configure = "#!/bin/sh\nsed \"s,@prefix@,${1#--prefix=},g\" Makefile.in > Makefile\n";
    let makefile = "thing: thing.c\n\tcc -o thing thing.c\ninstall: thing\n\t\
                    mkdir -p $(DESTDIR)@prefix@/bin && cp thing $(DESTDIR)@prefix@/bin\n";
    let files = [
        ("configure", configure),
        ("configure.ac", "AC_INIT([thing], [1.2.3])\n"),
        ("Makefile.in", makefile),
        ("thing.c", SMALL),
    ];
    let members = built(&files);
    assert!(members.contains(&"usr/bin/thing".to_owned()), "{members:?}");
}

#[test]
fn a_first_recipe_for_a_cmake_project_builds() {
    let lists = "cmake_minimum_required(VERSION 3.10)\nproject(thing VERSION 1.2.3 LANGUAGES C)\n\
                 add_executable(tool thing.c)\ninstall(TARGETS tool DESTINATION bin)\n";
    let members = built(&[("CMakeLists.txt", lists), ("thing.c", SMALL)]);
    assert!(members.contains(&"usr/bin/tool".to_owned()), "{members:?}");
}

#[test]
fn a_first_recipe_for_an_npm_project_builds() {
    let server = Server::new();
    server.npm_itself();
    let package = r#"{"name":"thing","version":"1.2.3","main":"index.js","scripts":{"build":"node make.js"}}"#;
    let lock = r#"{"name":"thing","version":"1.2.3","lockfileVersion":3,"packages":{"":{"name":"thing","version":"1.2.3"}}}"#;
    let make = "require('fs').writeFileSync('index.js', '1\\n')\n";
    let members = built_with(
        &[("package.json", package), ("package-lock.json", lock), ("make.js", make)],
        &server.clients(),
    );
    assert_eq!(members, ["thing-1.2.3.tgz"]);
}

#[test]
fn a_first_recipe_for_a_python_project_builds() {
    let project = "[build-system]\nrequires = [\"setuptools>=61\"]\nbuild-backend = \
                   \"setuptools.build_meta\"\n\n[project]\nname = \"thing\"\nversion = \"1.2.3\"\n";
    let members = built(&[("pyproject.toml", project), ("thing.py", "x = 1\n")]);
    assert!(members.contains(&"wheels/thing-1.2.3-py3-none-any.whl".to_owned()), "{members:?}");
}

#[test]
fn a_directory_without_a_project_is_told_what_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), &["init"]).ended(3).said("no project").said("Cargo.toml");
}
