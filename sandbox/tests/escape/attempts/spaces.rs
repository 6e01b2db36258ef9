//! Mounts, roots and namespaces.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::{Given, Named, Outcome, any, call, done, errno, reached};

const NONE: Option<&str> = None;

pub(super) const ALL: &[Named] = &[
    ("mount", mount),
    ("bind-mount", bind),
    ("remount", remount),
    ("unmount", unmount),
    ("new-mount-calls", new_mount_calls),
    ("copy-of-the-tree", copy_of_the_tree),
    ("chroot", chroot),
    ("user-namespace", |_| made(CloneFlags::CLONE_NEWUSER)),
    ("mount-namespace", |_| made(CloneFlags::CLONE_NEWNS)),
    ("network-namespace", |_| made(CloneFlags::CLONE_NEWNET)),
    ("process-namespace", |_| made(CloneFlags::CLONE_NEWPID)),
    ("time-namespace", |_| done(call(libc::SYS_unshare, [0x80]), "a namespace was made")),
    ("clone-user-namespace", clone),
    ("clone3-user-namespace", clone3),
    ("join-network", |given| join(given, "net", CloneFlags::CLONE_NEWNET)),
    ("join-mounts", |given| join(given, "mnt", CloneFlags::CLONE_NEWNS)),
    ("capabilities", capabilities),
];

fn dir(given: &Given) -> String {
    let dir = Path::new(given.text("tmp")).join("mount");
    fs::create_dir_all(&dir).unwrap();
    dir.display().to_string()
}

fn mount(given: &Given) -> Outcome {
    let dir = dir(given);
    let made =
        nix::mount::mount(Some("tmpfs"), dir.as_str(), Some("tmpfs"), MsFlags::empty(), NONE);
    if made.is_ok() {
        _ = nix::mount::umount2(dir.as_str(), MntFlags::MNT_DETACH);
    }
    done(errno(made), "a file system was mounted")
}

fn bind(given: &Given) -> Outcome {
    let dir = dir(given);
    let made = nix::mount::mount(Some("/usr"), dir.as_str(), NONE, MsFlags::MS_BIND, NONE);
    if made.is_ok() {
        _ = nix::mount::umount2(dir.as_str(), MntFlags::MNT_DETACH);
    }
    done(errno(made), "a directory was mounted elsewhere")
}

/// The root, with the flags it has, but for the one that makes it read-only.
fn remount(_: &Given) -> Outcome {
    let has = statvfs("/").unwrap().flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    for (flag, keep) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        flags.set(keep, has.contains(flag));
    }
    done(errno(nix::mount::mount(NONE, "/", NONE, flags, NONE)), "the root was made writable")
}

fn unmount(given: &Given) -> Outcome {
    let undone = nix::mount::umount2(dir(given).as_str(), MntFlags::MNT_DETACH);
    reached(errno(undone), &[Errno::EINVAL], "it may unmount what covers others")
}

fn new_mount_calls(_: &Given) -> Outcome {
    let opened = call(libc::SYS_fsopen, [c"tmpfs".as_ptr() as usize, 0]);
    done(opened, "a file system was opened")
}

fn copy_of_the_tree(_: &Given) -> Outcome {
    const CLONE: usize = 1;
    let at = libc::AT_FDCWD as usize;
    done(call(libc::SYS_open_tree, [at, c"/".as_ptr() as usize, CLONE]), "the tree was copied")
}

fn chroot(given: &Given) -> Outcome {
    done(errno(nix::unistd::chroot(given.text("tmp"))), "it may change its root, and leave it")
}

fn made(flag: CloneFlags) -> Outcome {
    done(errno(unshare(flag)), "a namespace was made")
}

fn clone(_: &Given) -> Outcome {
    let flags = (libc::CLONE_NEWUSER | libc::SIGCHLD) as usize;
    match call(libc::SYS_clone, [flags, 0, 0, 0, 0]) {
        // SAFETY: the child of the call above leaves at once.
        Ok(0) => unsafe { libc::_exit(0) },
        other => done(other, "a namespace was made"),
    }
}

fn clone3(_: &Given) -> Outcome {
    // struct clone_args, its first version: flags, three addresses, the signal, and two of a stack, one more.
    let flags = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    let arguments = [flags, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    match call(libc::SYS_clone3, [arguments.as_ptr() as usize, size_of_val(&arguments)]) {
        // SAFETY: the child of the call above leaves at once.
        Ok(0) => unsafe { libc::_exit(0) },
        other => done(other, "a namespace was made"),
    }
}

fn join(given: &Given, name: &str, flag: CloneFlags) -> Outcome {
    let paths = [format!("/proc/{}/ns/{name}", given.pid()), format!("/proc/1/ns/{name}")];
    any(paths.map(|path| {
        let joined = File::open(path).and_then(|file| errno(setns(file, flag)));
        done(joined, "it is where the live node is")
    }))
}

/// Of the machine, not of a namespace that owns nothing.
fn capabilities(_: &Given) -> Outcome {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let left: Vec<&str> = status
        .lines()
        .filter(|line| line.starts_with("Cap") && line.bytes().any(|b| matches!(b, b'1'..=b'9')))
        .collect();
    match left.is_empty() {
        true => Outcome::Blocked("none is left".to_owned()),
        false => Outcome::Through(left.join(" ").replace('\t', " ")),
    }
}
