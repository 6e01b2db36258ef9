//! What the payload is given: mounts of every kind, and scratch directories that come back.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use countersign_sandbox::{Error, Exit, Mount};

use crate::world::{Test, is_root, printed, run, sandbox};

pub(crate) const ALL: &[Test] = &[
    ("a_scratch_directory_is_written_and_comes_back_with_its_owner", scratch),
    ("a_scratch_directory_with_a_hard_link_outside_is_refused", hard_link),
    ("a_scratch_directory_with_a_door_to_a_process_outside_is_refused", doors),
    ("a_scratch_directory_is_given_to_one_payload_at_a_time", given_twice),
    ("a_tree_of_any_depth_is_handed_back", deep),
    ("files_links_directories_and_memory_are_where_they_were_put", made),
    ("a_file_can_be_laid_over_one_of_the_callers", covered),
    ("nothing_is_created_in_a_callers_directory", nothing_created),
    ("a_link_in_a_callers_directory_leads_nowhere_outside", links),
    ("a_toolchain_below_a_closed_home_can_be_given", closed_home),
    ("what_only_its_owner_may_read_is_refused_for_roots_payload", unreadable),
    ("a_missing_source_is_told_by_its_path", missing),
    ("the_sandboxs_own_places_cannot_be_mounted_over", own_places),
    ("a_directory_in_memory_has_the_size_it_was_given", memory),
];

fn scratch() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("before"), "x").unwrap();
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    fs::hard_link(deep.join("before"), dir.path().join("second-name")).unwrap();
    let before = fs::metadata(dir.path()).unwrap();
    if is_root() {
        // Any caller's own, not only root's.
        chown(dir.path(), Some(12345), Some(23456)).unwrap();
    }
    let expected = if is_root() { (12345, 23456) } else { (before.uid(), before.gid()) };
    let output = printed(
        sandbox(["write", "/build/src/new", "/build/src/a/b/before", "/build/src/a/b/after"])
            .mount(Mount::Writable { from: dir.path().into(), to: "/build/src".into() }),
    );
    assert_eq!(output.matches("ok").count(), 3, "{output}");
    for path in ["", "new", "a", "a/b", "a/b/before", "a/b/after", "link"] {
        let meta = fs::symlink_metadata(dir.path().join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), expected, "{path}");
    }
    assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), 0);
    assert_eq!(fs::read_to_string(dir.path().join("new")).unwrap(), "written");
}

fn hard_link() {
    if !is_root() {
        return;
    }
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let live = outside.path().join("live");
    fs::write(&live, "x").unwrap();
    fs::hard_link(&live, dir.path().join("name")).unwrap();
    let refused = sandbox(["exit", "0"])
        .mount(Mount::Writable { from: dir.path().into(), to: "/scratch".into() })
        .run();
    assert!(matches!(refused, Err(Error::Owner { path, .. }) if path == dir.path()));
    assert_eq!(fs::metadata(live).unwrap().uid(), 0);
    assert_eq!(fs::metadata(dir.path()).unwrap().uid(), 0);
}

fn doors() {
    let make_socket = |path: &Path| std::os::unix::net::UnixListener::bind(path).map(Some).unwrap();
    let make_fifo = |path: &Path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).map(|()| None).unwrap()
    };
    for make in [&make_socket as &dyn Fn(&Path) -> Option<_>, &make_fifo] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        let _alive = make(&dir.path().join("deep/door"));
        let refused = sandbox(["exit", "0"])
            .mount(Mount::Writable { from: dir.path().into(), to: "/scratch".into() })
            .run();
        let Err(Error::Owner { path, source }) = refused else { panic!("{refused:?}") };
        assert_eq!(path, dir.path());
        assert!(source.to_string().starts_with("door in it is a "), "{source}");
    }
}

fn given_twice() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let scratch = || Mount::Writable { from: dir.path().into(), to: "/scratch".into() };
    let first = sandbox(["hang"]).mount(scratch()).spawn().unwrap();
    let second = sandbox(["exit", "0"]).mount(scratch()).run();
    assert!(matches!(second, Err(Error::Owner { .. })), "{second:?}");
    drop(first);
    assert_eq!(fs::metadata(dir.path()).unwrap().uid(), 0);
}

/// Deeper than any path may be long.
fn deep() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = Mount::Writable { from: dir.path().into(), to: "/scratch".into() };
    assert_eq!(printed(sandbox(["dig", "/scratch"]).mount(scratch)), "dug\n");
    // The owner's own tools can remove it again.
    let own = nix::unistd::geteuid().as_raw();
    assert_eq!(fs::metadata(dir.path().join("d/d/d")).unwrap().uid(), own);
    dir.close().unwrap();
}

fn made() {
    let sandbox = sandbox(["cat", "/opt/deep/file", "/opt/link"])
        .mount(Mount::File { to: "/opt/deep/file".into(), content: b"content\n".to_vec() })
        .mount(Mount::Link { to: "/opt/link".into(), target: "deep/file".into() })
        .mount(Mount::Dir { to: "/opt/empty/dir".into() })
        .mount(Mount::Tmpfs { to: "/opt/memory".into(), bytes: 1 << 20, inodes: 100 })
        .mount(Mount::File { to: "/opt/memory/inside/file".into(), content: b"x".to_vec() });
    assert_eq!(printed(sandbox), "/opt/deep/file: ok content\n/opt/link: ok content\n");
}

fn covered() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let file = dir.path().join("settings");
    fs::write(&file, "the caller's").unwrap();
    let output = printed(
        sandbox(["cat", "/etc/settings", "/etc/machine-id"])
            .mount(Mount::ReadOnly { from: dir.path().into(), to: "/etc".into() })
            .mount(Mount::File { to: "/etc/settings".into(), content: b"the payload's".to_vec() }),
    );
    assert_eq!(output, "/etc/settings: ok the payload's\n/etc/machine-id: Some(ENOENT)\n");
    assert_eq!(fs::read_to_string(file).unwrap(), "the caller's");
}

fn nothing_created() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let refused = sandbox(["exit", "0"])
        .mount(Mount::Writable { from: dir.path().into(), to: "/data".into() })
        .mount(Mount::File { to: "/data/new/file".into(), content: Vec::new() })
        .run();
    assert!(
        matches!(&refused, Err(Error::Mount { path, .. }) if path.ends_with("data/new/file")),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn links() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    let refused = sandbox(["exit", "0"])
        .mount(Mount::ReadOnly { from: dir.path().into(), to: "/data".into() })
        .mount(Mount::Dir { to: "/data/out/new".into() })
        .run();
    // The link leads to a path of the tree, where a directory of ours may be made; never to the outside.
    assert!(refused.is_err() || fs::read_dir(outside.path()).unwrap().count() == 0);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

fn closed_home() {
    let home = tempfile::tempdir().unwrap();
    let tools = home.path().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("compiler"), "made of iron").unwrap();
    for (path, mode) in [(tools.as_path(), 0o755), (home.path(), 0o700)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let output = printed(
        sandbox(["cat", "/tools/compiler"])
            .mount(Mount::ReadOnly { from: tools, to: "/tools".into() }),
    );
    assert!(output.contains("made of iron"), "{output}");
}

fn unreadable() {
    if !is_root() {
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
    let refused = sandbox(["exit", "0"])
        .mount(Mount::ReadOnly { from: closed.path().into(), to: "/closed".into() })
        .run();
    assert!(
        matches!(&refused, Err(Error::Mount { path, .. }) if path == closed.path()),
        "{refused:?}"
    );
}

fn missing() {
    let refused = sandbox(["exit", "0"])
        .mount(Mount::ReadOnly { from: "/no/such/place".into(), to: "/here".into() })
        .run();
    let Err(Error::Mount { path, source }) = refused else { panic!("{refused:?}") };
    assert_eq!(
        (path.to_str(), source.kind()),
        (Some("/no/such/place"), std::io::ErrorKind::NotFound)
    );
}

fn own_places() {
    for to in ["/proc", "/proc/sys", "/dev/null", "/sys", "/", "relative", "/a/../b"] {
        let refused = sandbox(["exit", "0"]).mount(Mount::Dir { to: to.into() }).run();
        assert!(matches!(refused, Err(Error::Description { .. })), "{to}: {refused:?}");
    }
}

fn memory() {
    let (ended, output) = run(sandbox(["big-file", "/small/file"]).mount(Mount::Tmpfs {
        to: "/small".into(),
        bytes: 1 << 20,
        inodes: 10,
    }));
    assert_eq!(ended.exit, Exit::Code(101));
    assert!(output.contains("StorageFull"), "{output}");
}
