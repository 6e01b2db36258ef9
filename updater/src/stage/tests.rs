//! Staging: what is refused, what is kept, and that a changed byte on the disk is found.

use std::collections::BTreeMap;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::Config;
use crate::fetch::{Fetched, fetch};
use crate::fixture::{self, PRODUCT, Repository, append, release};
use crate::policy::{self, Facts};

struct Bench {
    home: Home,
    _dir: TempDir,
}

fn home() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    Bench { home: Home::create(dir.path()).unwrap(), _dir: dir }
}

/// Fetches an artifact with this tar, which `signed` says it is.
fn fetched(bench: &Bench, tar: &[u8], signed: Option<&Release>) -> Fetched {
    let mut repository = Repository::new();
    let own = release("1.0.0", tar, json!({}));
    repository.add_tar(signed.unwrap_or(&own), tar);
    repository.publish(2);
    let text = format!("product = \"{PRODUCT}\"\nrepositories = [\"{}\"]", repository.url());
    let config = Config::from_text(&text, "n.toml".into()).unwrap();
    let facts = Facts {
        running: None,
        known_bad: &BTreeMap::new(),
        reproduced: &BTreeMap::new(),
        ages: &BTreeMap::new(),
        held: &BTreeMap::new(),
        only: None,
    };
    let choice = policy::choose(&config, &repository.releases(), facts);
    fetch(&bench.home, &config, choice.approved.unwrap(), &mut |_| {}).unwrap()
}

fn good() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let dir = tar::EntryType::Directory;
    append(&mut builder, "bin/", dir, 0o755, b"", "");
    append(&mut builder, "bin/node", tar::EntryType::Regular, 0o755, b"#!/bin/sh\n", "");
    append(&mut builder, "bin/same", tar::EntryType::Link, 0o644, b"", "bin/node");
    append(&mut builder, "bin/sh", tar::EntryType::Symlink, 0o777, b"", "node");
    append(&mut builder, "data", tar::EntryType::Regular, 0o644, &[7; 1000], "");
    append(&mut builder, "empty", dir, 0o755, b"", "");
    append(&mut builder, "empty/none", tar::EntryType::Regular, 0o644, b"", "");
    builder.into_inner().unwrap()
}

#[test]
fn a_staged_release_is_read_only_complete_and_proven_again_later() {
    let bench = home();
    let staged = stage(&bench.home, fetched(&bench, &good(), None)).unwrap();
    let tree = staged.tree();
    assert_eq!(fs::read(tree.join("bin/same")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(fs::read_link(tree.join("bin/sh")).unwrap(), Path::new("node"));
    let mode = |path: &str| tree.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bin/node"), mode("data")), (0o555, 0o444));
    let names: Vec<_> = fs::read_dir(bench.home.store())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, [staged.identity().to_string()]);
    let again = reopen(&bench.home, staged.identity()).unwrap().unwrap();
    assert_eq!(again.release(), staged.release());
    assert!(reopen(&bench.home, &Sha256::of(b"other")).unwrap().is_none());
    stage(&bench.home, fetched(&bench, &good(), None)).unwrap();
}

#[test]
fn any_change_on_the_disk_is_found() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 8] = [
        ("data", |tree| rewrite(&tree.join("data"), &[8; 1000])),
        ("shorter", |tree| rewrite(&tree.join("data"), &[7; 999])),
        ("mode", |tree| {
            fs::set_permissions(tree.join("data"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("more", |tree| fs::write(tree.join("bin/more"), "x").unwrap()),
        ("less", |tree| fs::remove_file(tree.join("empty/none")).unwrap()),
        ("link", |tree| {
            fs::remove_file(tree.join("bin/sh")).unwrap();
            symlink("/bin/sh", tree.join("bin/sh")).unwrap();
        }),
        ("directory", |tree| {
            fs::rename(tree.join("bin"), tree.join("../elsewhere")).unwrap();
            symlink("../elsewhere", tree.join("bin")).unwrap();
        }),
        ("hard link", |tree| {
            fs::remove_file(tree.join("bin/same")).unwrap();
            fs::write(tree.join("bin/same"), "#!/bin/sh\n").unwrap();
        }),
    ];
    for (what, change) in changes {
        let bench = home();
        let staged = stage(&bench.home, fetched(&bench, &good(), None)).unwrap();
        change(&staged.tree());
        let error = reopen(&bench.home, staged.identity()).unwrap_err();
        assert!(matches!(error, StageError::Damaged { .. }), "{what}: {error}");
        // The damaged one is kept aside, and a whole one takes its place.
        stage(&bench.home, fetched(&bench, &good(), None)).unwrap();
        assert!(reopen(&bench.home, staged.identity()).unwrap().is_some(), "{what}");
        assert_eq!(fs::read_dir(bench.home.store()).unwrap().count(), 2, "{what}");
    }
}

fn rewrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

#[test]
fn hostile_members_are_refused_and_leave_nothing() {
    use tar::EntryType::{self, Block, Char, Directory, Fifo, Link, Regular, Symlink};
    type Member<'a> = (&'a str, EntryType, u32, &'a [u8], &'a str);
    let link: Member<'_> = ("d", Symlink, 0o777, b"", "e");
    let archives: [(&str, &[Member<'_>]); 14] = [
        ("absolute", &[("/etc/x", Regular, 0o644, b"", "")]),
        ("parent", &[("../x", Regular, 0o644, b"", "")]),
        (
            "parent inside",
            &[("d", Directory, 0o755, b"", ""), ("d/../../x", Regular, 0o644, b"", "")],
        ),
        ("twice", &[("x", Regular, 0o644, b"", ""), ("x", Regular, 0o644, b"", "")]),
        ("through a link", &[link, ("d/x", Regular, 0o644, b"", "")]),
        ("no directory", &[("d/x", Regular, 0o644, b"", "")]),
        ("link out", &[("x", Symlink, 0o777, b"", "../../etc")]),
        ("absolute link", &[("x", Symlink, 0o777, b"", "/etc/passwd")]),
        ("hard link out", &[("x", Link, 0o644, b"", "/etc/passwd")]),
        ("hard link to a link", &[link, ("x", Link, 0o644, b"", "d")]),
        ("set-uid", &[("x", Regular, 0o4755, b"", "")]),
        ("device", &[("x", Char, 0o644, b"", "")]),
        ("block device", &[("x", Block, 0o644, b"", "")]),
        ("pipe", &[("x", Fifo, 0o644, b"", "")]),
    ];
    for (what, members) in archives {
        let bench = home();
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, mode, content, target) in members {
            append(&mut builder, name, *kind, *mode, content, target);
        }
        let tar = builder.into_inner().unwrap();
        let error = stage(&bench.home, fetched(&bench, &tar, None)).unwrap_err();
        assert!(matches!(error, StageError::Refused(Refusal::Member { .. })), "{what}: {error:?}");
        assert!(error.is_untrusted());
        let left: Vec<_> = fs::read_dir(bench.home.store()).unwrap().collect();
        assert!(left.len() == 1, "{what}: only the partial download is left: {left:?}");
    }
}

#[test]
fn another_tar_than_the_signed_one_is_refused_however_it_is_packed() {
    let bench = home();
    let other = fixture::tar(&[("bin/node*", "other")]);
    let mut signed = release("1.0.0", &good(), json!({}));
    let error = stage(&bench.home, fetched(&bench, &other, Some(&signed))).unwrap_err();
    assert!(matches!(error, StageError::OtherIdentity { .. }), "{error}");
    // A bomb: more than was signed is never written.
    signed.artifact.length = 1024;
    let error = stage(&bench.home, fetched(&bench, &good(), Some(&signed))).unwrap_err();
    assert!(matches!(error, StageError::Refused(Refusal::TooLong)), "{error}");
    // Bytes after the end of the archive are part of what was signed.
    let mut longer = good();
    longer.extend_from_slice(&[0; 512]);
    let mut signed = release("1.0.0", &good(), json!({}));
    signed.artifact.length = longer.len() as u64;
    let error = stage(&bench.home, fetched(&bench, &longer, Some(&signed))).unwrap_err();
    assert!(matches!(error, StageError::OtherIdentity { .. }), "{error}");
}
