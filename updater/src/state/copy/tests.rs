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
    let item = copier.items[Path::new("file")].clone();
    check(&to.join("file"), &item).unwrap();
    fs::write(to.join("file"), "tex_").unwrap();
    assert!(matches!(check(&to.join("file"), &item), Err(StateError::Different(_))));
}

#[test]
fn a_disk_that_is_too_small_is_noticed_before_the_first_byte() {
    let (_dir, from, to) = two();
    fs::write(from.join("file"), "text").unwrap();
    fs::create_dir(&to).unwrap();
    check_space(&from, &to, 0).unwrap();
    let error = check_space(&from, &to, u64::MAX / 2).unwrap_err();
    assert!(matches!(error, StateError::Space { .. }));
}
