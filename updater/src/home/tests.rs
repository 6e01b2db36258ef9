//! Whose a directory may be, and what becomes of one that is not a node yet.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::unistd::Uid;

use super::*;

#[test]
fn a_directory_with_foreign_files_is_never_taken() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    assert!(matches!(Home::create(dir.path()), Err(HomeError::Occupied(_))));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(matches!(Home::open(dir.path()), Err(HomeError::NotInstalled(_))));
}

#[test]
fn locks_and_private_data_are_closed_to_other_users() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("above/node");
    let home = Home::create(&node).unwrap();
    home.finish("product = \"p\"\n").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    for path in [home.path(), &home.run(), &home.log(), &home.states(), &home.snapshots()] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    fs::create_dir(dir.path().join("beside")).unwrap();
    let (above, usual) = (dir.path().join("above"), dir.path().join("beside"));
    assert_eq!(mode(&above), mode(&usual), "what is above is not ours to close");
    // As an earlier version left it.
    for path in [home.run(), home.log(), home.shadow()] {
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    Home::open(&node).unwrap();
    assert_eq!(mode(&home.run()), 0o755, "looking changes nothing");
    Home::open_to_write(&node).unwrap();
    for path in [home.run(), home.log(), home.shadow()] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
}

#[test]
fn a_node_directory_of_another_user_is_refused_before_the_first_write() {
    assert!(owner::name(Uid::from_raw(4_000_000_000)).starts_with('#'));
    if !Uid::effective().is_root() {
        // Only root can give a directory away; the top of the file system is root's already.
        assert!(matches!(owner::only(Path::new("/")), Err(HomeError::NotOwner { .. })));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let give = |path: &Path| std::os::unix::fs::chown(path, Some(4_000_000), None).unwrap();
    give(dir.path());
    assert!(matches!(Home::create(dir.path()), Err(HomeError::NotOwner { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(dir.path()).unwrap();
    home.finish("product = \"p\"\n").unwrap();
    give(&home.run());
    assert!(matches!(Home::open_to_write(dir.path()), Err(HomeError::NotOwner { .. })));
    assert!(Home::open(dir.path()).is_ok(), "looking needs no ownership");
}

#[test]
fn an_install_that_did_not_finish_may_begin_again_with_the_same_seed() {
    let dir = tempfile::tempdir().unwrap();
    let first = Home::create(dir.path()).unwrap().seed().unwrap();
    assert!(matches!(Home::open(dir.path()), Err(HomeError::Unfinished(_))));
    let home = Home::create(dir.path()).unwrap();
    assert_eq!(first.as_bytes(), home.seed().unwrap().as_bytes());
    home.finish("product = \"p\"\n").unwrap();
    assert!(Home::open(dir.path()).is_ok());
    assert!(matches!(Home::create(dir.path()), Err(HomeError::Installed(_))));
}
