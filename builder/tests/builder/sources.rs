//! Every kind of source: locked, built, stored with the release, rebuilt with no network; hostile and stale ones refused.

use std::fs;
use std::path::Path;

use countersign_metadata::Sha256;

use crate::project::{GOOD_C, Ran, run_cut_off, run_with};
use crate::serve::{Server, git, piped, tar, targz, zip};

const MAKEFILE: &str = "thing: thing.c\n\tcc -o thing thing.c\n";

/// A recipe of a source; its output is `thing`.
pub(crate) fn recipe(source: &str, environment: &str, build: &str, more: &str) -> String {
    format!(
        "product = \"thing\"\nversion = \"1.0.0\"\n\n[source]\n{source}\n\n[environment]\nkind = \"host\"\n\
         {environment}\n\n[build]\n{build}\n\n{more}\n[outputs]\n\"bin/thing\" = \"thing\"\n"
    )
}

/// Locks, builds, and rebuilds from what was stored alone; the lock.
#[track_caller]
pub(crate) fn whole_way(dir: &Path, recipe: &str, clients: &[(String, String)]) -> String {
    fs::write(dir.join("countersign.toml"), recipe).unwrap();
    run_with(dir, &["lock", "."], clients).ended(0);
    let lock = fs::read_to_string(dir.join("countersign.lock")).unwrap();
    run_with(dir, &["lock", "."], clients).ended(0).said("unchanged");
    let out = tempfile::tempdir().unwrap();
    let built = out.path().join("built");
    run_with(dir, &["build", ".", "-o", built.to_str().unwrap()], clients).ended(0);
    let again = out.path().join("again");
    // On a disk instead of in memory: what is laid out for the build must be there too.
    let (built_at, vary) = (built.to_str().unwrap(), "file-system");
    let arguments =
        ["rebuild", "--release", built_at, "-o", again.to_str().unwrap(), "--vary", vary];
    run_cut_off(out.path(), &arguments).ended(0).said("REPRODUCED");
    // Every locked input is there, under its digest, and is what a rebuild needs: without one there is none.
    for line in lock.lines().filter_map(|line| line.strip_prefix("sha256 = \"")).skip(1) {
        let digest = line.trim_end_matches('"');
        let path = built.join("inputs").join(digest);
        assert_eq!(Sha256::of(&fs::read(&path).unwrap()).to_string(), digest);
    }
    lock
}

fn c(source: &str) -> String {
    recipe(source, "tools = [\"c\"]", "steps = [\"make\"]", "")
}

fn lock_fails(dir: &Path, recipe: &str, clients: &[(String, String)]) -> Ran {
    fs::write(dir.join("countersign.toml"), recipe).unwrap();
    let ran = run_with(dir, &["lock", "."], clients);
    assert!(!dir.join("countersign.lock").exists(), "{}", ran.err);
    ran
}

#[test]
fn an_archive_by_url_and_digest_goes_the_whole_way() {
    let server = Server::new();
    let files = [("thing-1/Makefile", MAKEFILE), ("thing-1/thing.c", GOOD_C)];
    let plain = tar(&files);
    let archives = [
        ("/thing.tar.gz", targz(&files)),
        ("/thing.tar.xz", piped("xz", &["-c"], &plain)),
        ("/thing.tar.bz2", piped("bzip2", &["-c"], &plain)),
        ("/thing.tar.zst", piped("zstd", &["-c", "-q"], &plain)),
        ("/thing.zip", zip(&files)),
    ];
    let mut sources = Vec::new();
    for (path, bytes) in archives {
        let (sha256, url) = (Sha256::of(&bytes), server.put(path, bytes));
        let dir = tempfile::tempdir().unwrap();
        let text = c(&format!("kind = \"archive\"\nurl = \"{url}\"\nsha256 = \"{sha256}\""));
        let lock = match path {
            "/thing.tar.gz" => whole_way(dir.path(), &text, &[]),
            _ => {
                fs::write(dir.path().join("countersign.toml"), text).unwrap();
                run_with(dir.path(), &["lock", "."], &[]).ended(0);
                fs::read_to_string(dir.path().join("countersign.lock")).unwrap()
            }
        };
        let source = lock.split("[source]").nth(1).unwrap().split("[[input]]").next().unwrap();
        sources.push(source.to_owned());
    }
    assert!(sources.iter().all(|source| *source == sources[0]), "{sources:?}");
}

#[test]
fn an_archive_that_is_another_or_is_not_there_or_breaks_off_is_refused() {
    let server = Server::new();
    let dir = tempfile::tempdir().unwrap();
    let bytes = targz(&[("thing-1/thing.c", GOOD_C)]);
    let of = |url: &str, bytes: &[u8]| {
        c(&format!("kind = \"archive\"\nurl = \"{url}\"\nsha256 = \"{}\"", Sha256::of(bytes)))
    };
    let url = server.put("/a.tar.gz", b"something else".to_vec());
    lock_fails(dir.path(), &of(&url, &bytes), &[]).ended(6).said("is not what was locked");
    let gone = format!("{url}.gone");
    lock_fails(dir.path(), &of(&gone, &bytes), &[]).ended(5).said("there is no").said("hint:");
    let top = targz(&[("beside", "x"), ("thing-1/thing.c", GOOD_C)]);
    let url = server.put("/top.tar.gz", top.clone());
    lock_fails(dir.path(), &of(&url, &top), &[]).ended(3).said("at the top").said("strip = false");
    let secret = "https://me:secret@example.org/a.tar.gz";
    let ran = lock_fails(dir.path(), &of(secret, &bytes), &[]).ended(3);
    ran.said("countersign.toml:6: source.url: it holds a user or a password");
}

/// A repository with a commit; its id.
fn repository(dir: &Path) -> String {
    git(dir, &["init", "-q", "-b", "main"]);
    fs::create_dir(dir.join("a")).unwrap();
    fs::write(dir.join("Makefile"), MAKEFILE).unwrap();
    fs::write(dir.join("thing.c"), GOOD_C).unwrap();
    // Names that sort differently with and without a slash, a link, a program, and what attributes would change.
    fs::write(dir.join("a/x"), "x").unwrap();
    fs::write(dir.join("a.b"), "\r\n$Format:%H$\n").unwrap();
    fs::write(dir.join("a-b"), "y").unwrap();
    fs::write(dir.join(".gitattributes"), "a.b export-subst text eol=lf\na-b export-ignore\n")
        .unwrap();
    std::os::unix::fs::symlink("thing.c", dir.join("link")).unwrap();
    git(dir, &["add", "-A"]);
    git(dir, &["update-index", "--chmod=+x", "a-b"]);
    git(dir, &["commit", "-q", "-m", "one"]);
    git(dir, &["rev-parse", "HEAD"])
}

fn of_commit(url: &str, commit: &str) -> String {
    c(&format!("kind = \"git\"\nurl = \"{url}\"\ncommit = \"{commit}\""))
}

#[test]
fn a_git_commit_goes_the_whole_way_and_is_recomputed_from_what_is_built() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let commit = repository(origin.path());
    // Not the newest, and not named by a branch.
    fs::write(origin.path().join("later"), "z").unwrap();
    git(origin.path(), &["add", "-A"]);
    git(origin.path(), &["commit", "-q", "-m", "two"]);
    let url = origin.path().to_str().unwrap();
    let lock = whole_way(dir.path(), &of_commit(url, &commit), &[]);
    assert!(lock.contains(&format!("name = \"git:{commit}\"")) && !lock.contains(url), "{lock}");
    // Another source under the same commit does not pass for it, whoever wrote the lock.
    let other = git(origin.path(), &["rev-parse", "HEAD"]);
    fs::write(dir.path().join("countersign.toml"), of_commit(url, &other)).unwrap();
    run_with(dir.path(), &["lock", "."], &[]).ended(0);
    let second = fs::read_to_string(dir.path().join("countersign.lock")).unwrap();
    let section = |text: &str| {
        let at = text.find("[source]").unwrap();
        text[at..at + text[at..].find("[[input]]").unwrap()].to_owned()
    };
    let forged = second.replace(&section(&second), &section(&lock));
    fs::write(dir.path().join("countersign.lock"), forged).unwrap();
    let ran = run_with(dir.path(), &["build", ".", "-o", "out"], &[]).ended(6);
    ran.said(&other).said("its tree has another id");
}

#[test]
fn an_address_is_rewritten_as_the_machines_own_git_configuration_says_and_nothing_else_of_it_counts()
 {
    let (dir, origin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = tempfile::tempdir().unwrap();
    let commit = repository(origin.path());
    let ran = home.path().join("ran");
    let program = home.path().join("program");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\nexit 1\n", ran.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, mode).unwrap();
    let config = format!(
        "[url \"{}/\"]\n\tinsteadOf = https://git.example.org/thing/\n[core]\n\thooksPath = {}\n\
         fsmonitor = {program}\n[uploadpack]\n\tpackObjectsHook = {program}\n",
        origin.path().parent().unwrap().display(),
        home.path().display(),
        program = program.display()
    );
    fs::write(home.path().join(".gitconfig"), config).unwrap();
    fs::rename(&program, home.path().join("reference-transaction")).unwrap();
    let name = origin.path().file_name().unwrap().to_str().unwrap();
    let text = of_commit(&format!("https://git.example.org/thing/{name}"), &commit);
    fs::write(dir.path().join("countersign.toml"), text).unwrap();
    let home_is = ("HOME".to_owned(), home.path().display().to_string());
    run_with(dir.path(), &["lock", "."], &[home_is]).ended(0);
    assert!(!ran.exists());
}

#[test]
fn a_commit_with_what_no_source_may_hold_is_refused_by_name() {
    let refused = |make: &dyn Fn(&Path), code: i32, said: &str| {
        let (dir, origin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        repository(origin.path());
        make(origin.path());
        git(origin.path(), &["commit", "-q", "-m", "two"]);
        let commit = git(origin.path(), &["rev-parse", "HEAD"]);
        let text = of_commit(origin.path().to_str().unwrap(), &commit);
        lock_fails(dir.path(), &text, &[]).ended(code).said(said);
    };
    let add = |dir: &Path, mode: &str, text: &str, path: &str| {
        fs::write(dir.join("object"), text).unwrap();
        let id = git(dir, &["hash-object", "-w", "object"]);
        let id = if mode == "160000" { "1".repeat(40) } else { id };
        git(dir, &["update-index", "--add", "--cacheinfo", &format!("{mode},{id},{path}")]);
    };
    refused(&|dir| add(dir, "160000", "", "sub"), 3, "sub\": it is a submodule");
    refused(&|dir| add(dir, "120000", "../../etc/passwd", "out"), 3, "its target leaves the tree");
    let pointer =
        format!("version https://git-lfs.example/v1\noid sha256:{}\nsize 9\n", "0".repeat(64));
    refused(&|dir| add(dir, "100644", &pointer, "big"), 3, "big\": it is a pointer of git-lfs");
}

#[test]
fn a_commit_that_is_not_there_is_told_with_what_to_look_at() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    repository(origin.path());
    let url = origin.path().to_str().unwrap();
    let none = "0123456789".repeat(4);
    lock_fails(dir.path(), &of_commit(url, &none), &[]).ended(5).said(&none).said("git ls-remote");
    lock_fails(dir.path(), &of_commit(url, "main"), &[]).ended(3).said("40 or 64");
    lock_fails(dir.path(), &of_commit("ext::sh -c id", &none), &[]).ended(3).said("source.url");
}

#[test]
fn a_debian_source_package_is_found_from_its_description_alone() {
    let server = Server::new();
    let orig = piped("xz", &["-c"], &tar(&[("up-1/Makefile", MAKEFILE), ("up-1/thing.c", GOOD_C)]));
    let packaging =
        piped("xz", &["-c"], &tar(&[("debian/rules", "x"), ("debian/patches/series", "")]));
    let (up, deb) = ("thing_1.0.orig.tar.xz", "thing_1.0-1.debian.tar.xz");
    let dsc = format!(
        "Format: 3.0 (quilt)\nChecksums-Sha256:\n {} {} {up}\n {} {} {deb}\nFiles:\n x 1 {up}\n",
        Sha256::of(&orig),
        orig.len(),
        Sha256::of(&packaging),
        packaging.len()
    );
    let digest = Sha256::of(dsc.as_bytes());
    for (file, bytes) in [(up, orig), (deb, packaging), ("thing_1.0-1.dsc", dsc.into_bytes())] {
        server.put(&format!("/pool/main/t/thing/{file}"), bytes);
    }
    let text = recipe(
        &format!(
            "kind = \"debian\"\npackage = \"thing=1.0-1\"\nsha256 = {{ \"thing_1.0-1.dsc\" = \"{digest}\" }}"
        ),
        "tools = [\"c\"]",
        "steps = [\"make\", \"test -f debian/rules\"]",
        "",
    );
    let dir = tempfile::tempdir().unwrap();
    let lock = whole_way(dir.path(), &text, &server.clients());
    for file in [up, deb, "thing_1.0-1.dsc"] {
        assert!(lock.contains(&format!("debian:thing=1.0-1/{file}")), "{lock}");
    }
    assert!(!lock.contains(server.host()));
}

#[test]
fn packages_of_registries_are_sources_without_a_host_in_the_lock() {
    let server = Server::new();
    let script = "console.log('hello')";
    server.npm("@scope/thing", "1.2.3", script);
    server.krate("krate", "0.1.0", &[("src/main.rs", "fn main() { println!(\"hello\"); }\n")]);
    let sdist = targz(&[("py_thing-1.0/thing.py", "print('hello')\n")]);
    server.pypi("py-thing", "py_thing-1.0.tar.gz", sdist);
    for (package, step) in [
        ("npm:@scope/thing@1.2.3", "cp index.js thing"),
        ("crates:krate@0.1.0", "cp src/main.rs thing"),
        ("pypi:Py.Thing==1.0", "cp thing.py thing"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let text = recipe(
            &format!("kind = \"package\"\npackage = \"{package}\""),
            "tools = [\"c\"]",
            &format!("steps = [\"{step}\"]"),
            "",
        );
        let lock = whole_way(dir.path(), &text, &server.clients());
        assert!(!lock.contains(server.host()) && !lock.contains("http"), "{lock}");
        let other = Sha256::of(b"other");
        let wrong =
            text.replace("[environment]", &format!("sha256 = \"{other}\"\n\n[environment]"));
        fs::remove_file(dir.path().join("countersign.lock")).unwrap();
        let ran = lock_fails(dir.path(), &wrong, &server.clients());
        assert!(matches!(ran.code, 3 | 6), "{} {}", ran.code, ran.err);
    }
}
