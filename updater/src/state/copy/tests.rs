//! What a copy has, follows and refuses.

use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

fn two() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    (dir, from, to)
}

/// Makes a file look old enough for its times to count.
fn age(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(600);
    File::open(path).unwrap().set_modified(old).unwrap();
}

#[test]
fn a_copy_has_the_bytes_modes_times_and_links_of_its_source() {
    let (_dir, from, to) = two();
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::write(from.join("a/b/file"), "text").unwrap();
    fs::set_permissions(from.join("a/b/file"), Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(from.join("a"), Permissions::from_mode(0o750)).unwrap();
    age(&from.join("a/b/file"));
    symlink("/etc/shadow", from.join("link")).unwrap();
    let _socket = UnixListener::bind(from.join("socket")).unwrap();
    let mut copier = Copier::new(&from, &to).unwrap();
    copier.pass(Pass::Still).unwrap();
    let meta = fs::metadata(to.join("a/b/file")).unwrap();
    let source = fs::metadata(from.join("a/b/file")).unwrap();
    assert_eq!((meta.mode(), meta.mtime()), (source.mode(), source.mtime()));
    assert_eq!(fs::metadata(to.join("a")).unwrap().mode() & 0o777, 0o750);
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/shadow"));
    assert!(!to.join("socket").exists());
    let manifest = copier.manifest(1, Timestamp::UNIX_EPOCH);
    assert_eq!(manifest.skipped, ["socket"]);
    assert_eq!(manifest.entries.len(), 4);
}

#[test]
fn a_second_pass_reads_only_what_changed_and_follows_every_change() {
    let (dir, from, to) = two();
    for name in ["same", "changed", "gone", "now-a-directory", "hidden"] {
        fs::write(from.join(name), name.repeat(100)).unwrap();
        age(&from.join(name));
    }
    fs::create_dir(from.join("now-a-file")).unwrap();
    fs::write(from.join("now-a-file/inside"), "x").unwrap();
    let outside = dir.path().join("outside");
    for dir in [&outside, &from.join("now-a-link")] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("inside"), "x").unwrap();
    }
    let mut copier = Copier::new(&from, &to).unwrap();
    copier.pass(Pass::Live).unwrap();
    if !copier.times_count {
        return;
    }
    // The times that were read just now are too fresh to be believed: as if the pass had been a while ago.
    copier.files.values_mut().for_each(|times| times.fresh = false);
    fs::write(from.join("changed"), "other").unwrap();
    fs::write(from.join("hidden"), "HIDDEN".repeat(100)).unwrap();
    age(&from.join("hidden"));
    fs::remove_file(from.join("gone")).unwrap();
    fs::remove_file(from.join("now-a-directory")).unwrap();
    fs::create_dir(from.join("now-a-directory")).unwrap();
    fs::remove_file(from.join("now-a-file/inside")).unwrap();
    fs::remove_dir(from.join("now-a-file")).unwrap();
    fs::write(from.join("now-a-file"), "file").unwrap();
    fs::remove_file(from.join("now-a-link/inside")).unwrap();
    fs::remove_dir(from.join("now-a-link")).unwrap();
    symlink(&outside, from.join("now-a-link")).unwrap();
    let read = copier.pass(Pass::Still).unwrap();
    assert!(outside.join("inside").exists(), "a copy never removes through a link");
    assert_eq!(read, 5 + 600 + 4, "a time that was set back is betrayed by the other one");
    assert_eq!(fs::read(to.join("changed")).unwrap(), b"other");
    assert_eq!(fs::read(to.join("hidden")).unwrap(), "HIDDEN".repeat(100).as_bytes());
    assert_eq!(fs::read(to.join("same")).unwrap(), "same".repeat(100).as_bytes());
    assert!(!to.join("gone").exists() && to.join("now-a-directory").is_dir());
    assert_eq!(fs::read(to.join("now-a-file")).unwrap(), b"file");
}

#[test]
fn a_copy_is_closed_to_others_until_it_is_complete() {
    let (_dir, from, to) = two();
    fs::create_dir(from.join("open")).unwrap();
    fs::write(from.join("open/file"), "private until now").unwrap();
    mkfifo(&from.join("pipe"), Mode::S_IRWXU).unwrap();
    for dir in [&from, &from.join("open")] {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let mut copier = Copier::new(&from, &to).unwrap();
    assert_eq!(mode(&to), 0o700);
    // It ends at the pipe, after the directory before it.
    copier.pass(Pass::Live).unwrap_err();
    assert_eq!((mode(&to), mode(&to.join("open"))), (0o700, 0o755));
    copier.make_dir(Path::new("new")).unwrap();
    copier.make_dir(Path::new("open")).unwrap();
    assert_eq!((mode(&to.join("new")), mode(&to.join("open"))), (0o700, 0o700));
    fs::remove_file(from.join("pipe")).unwrap();
    copier.pass(Pass::Live).unwrap();
    assert_eq!((mode(&to), mode(&to.join("open"))), (0o755, 0o755));
}

#[test]
fn what_is_no_state_is_refused_by_name() {
    let (_dir, from, to) = two();
    mkfifo(&from.join("pipe"), Mode::S_IRWXU).unwrap();
    let error = Copier::new(&from, &to).unwrap().pass(Pass::Live).unwrap_err();
    assert!(matches!(&error, StateError::Special { what: "named pipe", .. }), "{error}");
    assert!(error.to_string().contains("from/pipe"));
}

#[test]
fn a_copy_that_is_not_what_was_written_is_found() {
    let (_dir, from, to) = two();
    fs::write(from.join("file"), "text").unwrap();
    let mut copier = Copier::new(&from, &to).unwrap();
    copier.pass(Pass::Still).unwrap();
    copier.settle().unwrap();
    let item = copier.items[Path::new("file")].clone();
    check(&to, Path::new("file"), &item).unwrap();
    fs::write(to.join("file"), "tex_").unwrap();
    assert!(matches!(check(&to, Path::new("file"), &item), Err(StateError::Different(_))));
}

#[test]
fn a_disk_that_is_too_small_is_noticed_before_the_first_byte() {
    let (_dir, from, to) = two();
    fs::write(from.join("file"), "text").unwrap();
    fs::create_dir(&to).unwrap();
    check_space(&from, &to, 2, 0).unwrap();
    let error = check_space(&from, &to, 1, u64::MAX / 2).unwrap_err();
    assert!(matches!(error, StateError::Space { .. }));
}

#[test]
fn a_copy_has_the_extended_attributes_and_access_lists_of_its_source() {
    let (_dir, from, to) = two();
    fs::create_dir(from.join("dir")).unwrap();
    fs::write(from.join("file"), "text").unwrap();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty())
    };
    let get = |path: &Path, name: &str| {
        let mut buffer = [0; 4096];
        let length = rustix::fs::getxattr(path, name, &mut buffer[..]).unwrap_or(0);
        buffer[..length].to_vec()
    };
    let long = [7; 3000];
    set(&from.join("file"), "user.long", &long).unwrap();
    set(&from.join("dir"), "user.name", b"value").unwrap();
    // user::rw-, user:12345:r--, group::r--, mask::r--, other::---
    let acl: Vec<u8> = [2u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(
            [
                (1u16, 6u16, u32::MAX),
                (2, 4, 12345),
                (4, 4, u32::MAX),
                (16, 4, u32::MAX),
                (32, 0, u32::MAX),
            ]
            .map(|(tag, permissions, id)| {
                [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
            }),
        )
        .flatten()
        .collect();
    set(&from.join("file"), "system.posix_acl_access", &acl).unwrap();
    set(&from.join("dir"), "system.posix_acl_default", &acl).unwrap();
    let mut copier = Copier::new(&from, &to).unwrap();
    copier.pass(Pass::Live).unwrap();
    fs::write(from.join("dir/new"), "made later").unwrap();
    rustix::fs::removexattr(from.join("dir/new"), "system.posix_acl_access").unwrap();
    rustix::fs::removexattr(from.join("dir"), "user.name").unwrap();
    copier.pass(Pass::Still).unwrap();
    copier.settle().unwrap();
    assert_eq!(get(&to.join("file"), "user.long"), long);
    assert_eq!(get(&to.join("file"), "system.posix_acl_access"), acl);
    assert_eq!(get(&to.join("dir"), "system.posix_acl_default"), acl);
    assert_eq!(get(&to.join("dir"), "user.name"), b"", "what was removed is removed");
    assert_eq!(
        get(&to.join("dir/new"), "system.posix_acl_access"),
        b"",
        "no list comes from a copy"
    );
    let item = copier.items[Path::new("file")].clone();
    check(&to, Path::new("file"), &item).unwrap();
    set(&to.join("file"), "user.long", b"other").unwrap();
    assert!(check(&to, Path::new("file"), &item).is_err(), "attributes count when it is read back");
}

#[test]
fn names_of_one_file_stay_names_of_one_file_whatever_changes_between_the_passes() {
    let (_dir, from, to) = two();
    for name in ["a", "d"] {
        fs::write(from.join(name), name).unwrap();
        age(&from.join(name));
    }
    fs::hard_link(from.join("a"), from.join("b")).unwrap();
    fs::hard_link(from.join("d"), from.join("e")).unwrap();
    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    let mut copier = Copier::new(&from, &to).unwrap();
    copier.pass(Pass::Live).unwrap();
    assert!(inode("a") == inode("b") && inode("d") == inode("e") && inode("a") != inode("d"));
    fs::hard_link(from.join("a"), from.join("c")).unwrap();
    fs::remove_file(from.join("e")).unwrap();
    fs::write(from.join("e"), "alone").unwrap();
    copier.pass(Pass::Still).unwrap();
    copier.settle().unwrap();
    assert!(inode("a") == inode("b") && inode("b") == inode("c") && inode("d") != inode("e"));
    assert_eq!(fs::read(to.join("d")).unwrap(), b"d");
    assert_eq!(fs::read(to.join("e")).unwrap(), b"alone");
    let item = copier.items[Path::new("b")].clone();
    assert_eq!(item, Item::HardLink { of: "a".to_owned() });
    check(&to, Path::new("b"), &item).unwrap();
    fs::remove_file(to.join("b")).unwrap();
    fs::write(to.join("b"), "a").unwrap();
    assert!(check(&to, Path::new("b"), &item).is_err());
}

#[test]
fn what_is_secret_is_not_copied_with_all_that_lies_below_it() {
    let (_dir, from, to) = two();
    fs::create_dir_all(from.join("keys/old")).unwrap();
    for name in ["keys/node.key", "keys/old/node.key", "tls.pem", "words"] {
        fs::write(from.join(name), "x").unwrap();
    }
    // A pipe would end the copy.
    mkfifo(&from.join("keys/pipe"), Mode::S_IRWXU).unwrap();
    let secrets = Secrets::none().and(["keys", "*.pem"].map(|path| path.parse().unwrap()));
    let mut copier = Copier::without(&secrets, &from, &to).unwrap();
    copier.pass(Pass::Live).unwrap();
    copier.pass(Pass::Still).unwrap();
    let names: Vec<_> = fs::read_dir(&to).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["words"]);
}

#[test]
fn a_sparse_file_stays_sparse() {
    let (_dir, from, to) = two();
    let file = File::create(from.join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 40) - 3).unwrap();
    let mut copier = Copier::new(&from, &to).unwrap();
    copier.pass(Pass::Still).unwrap();
    copier.settle().unwrap();
    let meta = fs::metadata(to.join("sparse")).unwrap();
    assert_eq!(meta.len(), 1 << 40);
    assert!(meta.blocks() < 1 << 10);
}
