//! What the payload can use up.

use std::fs::{self, File};
use std::time::Duration;

use countersign_sandbox::{Error, Exit, Limits, Mount};

use crate::world::{Test, is_root, printed, processes_with, run, sandbox, unique_word, until};

pub(crate) const ALL: &[Test] = &[
    ("a_fork_bomb_is_bounded_and_gone_afterwards", forks),
    ("memory_is_bounded_for_root_and_refused_by_name_otherwise", memory),
    ("the_wall_limit_kills", wall),
    ("files_are_bounded_in_size_and_number", files),
    ("a_file_system_is_not_filled", full_disk),
    ("inotify_instances_are_left_to_the_caller", inotify),
    ("output_is_bounded", output),
    ("more_open_files_than_the_caller_may_have_are_refused", open_files),
];

fn forks() {
    let limits = Limits { processes: 32, ..Limits::default() };
    let count: u64 = printed(sandbox(["forks"]).limits(limits)).trim().parse().unwrap();
    // As a plain user some room is left for the sandbox's own threads.
    assert!((8..64).contains(&count), "{count}");
}

fn memory() {
    let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    if is_root() {
        let (ended, _) = run(sandbox(["eat", "512"]).limits(limits.clone()));
        assert_eq!(ended.exit, Exit::Signal(libc::SIGKILL));
        assert_eq!(printed(sandbox(["eat", "16"]).limits(limits)), "ate 16\n");
    } else {
        match sandbox(["exit", "0"]).limits(limits).run() {
            // A delegated control group is the one way a plain user can have it.
            Ok(_) => assert!(crate::life::has("memory limit")),
            Err(Error::Missing { capability, .. }) => assert_eq!(capability, "memory limit"),
            Err(other) => panic!("{other}"),
        }
    }
}

fn wall() {
    let word = unique_word("wall");
    let limits = Limits { wall: Some(Duration::from_millis(300)), ..Limits::default() };
    let (ended, _) = run(sandbox(["hang", &word]).limits(limits));
    assert_eq!(ended.exit, Exit::WallTime);
    assert!(ended.usage.wall >= Duration::from_millis(300));
    assert!(processes_with(&word).is_empty());
}

fn files() {
    let limits = Limits { file_bytes: 1 << 20, open_files: 64, ..Limits::default() };
    let (ended, _) = run(sandbox(["big-file", "/tmp/big"]).limits(limits.clone()));
    assert_eq!(ended.exit, Exit::Signal(libc::SIGXFSZ));
    let count: u64 = printed(sandbox(["files"]).limits(limits)).trim().parse().unwrap();
    assert!(count < 64, "{count}");
}

fn full_disk() {
    // In memory, where other programs change little meanwhile.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let scratch = || Mount::Writable { from: dir.path().into(), to: "/scratch".into() };
    let refused = sandbox(["exit", "0"]).mount(scratch()).keep_free(u64::MAX).run();
    assert!(matches!(&refused, Err(Error::Full { path, .. }) if path == dir.path()), "{refused:?}");

    let stat = nix::sys::statvfs::statvfs(dir.path()).unwrap();
    let free = stat.blocks_available() * stat.fragment_size();
    let sandbox = sandbox(["fill", "/scratch/file", "64"]).mount(scratch());
    let mut running = sandbox.keep_free(free - (16 << 20)).spawn().unwrap();
    until("it has been killed", || running.has_exited().is_some());
    let ended = running.wait();
    assert!(matches!(&ended, Err(Error::Full { path, .. }) if path == dir.path()), "{ended:?}");
}

fn inotify() {
    let count: u64 = printed(sandbox(["inotify"])).trim().parse().unwrap();
    assert!((1..=16).contains(&count), "{count}");
}

fn output() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = || File::create(&path).unwrap();
    let ended = sandbox(["print", "1000000"]).output(log(), 1000).run().unwrap();
    assert_eq!((ended.exit, ended.output_truncated), (Exit::Code(0), true));
    assert_eq!(fs::metadata(&path).unwrap().len(), 1000);
    let ended = sandbox(["print", "1000"]).output(log(), 1000).run().unwrap();
    assert!(!ended.output_truncated);
    assert!(!sandbox(["print", "1000000"]).run().unwrap().output_truncated);
}

fn open_files() {
    let limits = Limits { open_files: 1 << 40, ..Limits::default() };
    let refused = sandbox(["exit", "0"]).limits(limits).run();
    assert!(
        matches!(&refused, Err(Error::Missing { capability, .. }) if capability == "open files"),
        "{refused:?}"
    );
}
