//! Using up what is everybody's. Each stops far above what a sandbox allows and far below what hurts.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::FromRawFd;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;

use super::Outcome::{Blocked, Through};
use super::{Given, Named, Outcome, call};

pub(super) const ALL: &[Named] = &[
    ("fork-bomb", forks),
    ("thread-bomb", threads),
    ("memory-bomb", memory),
    ("memory-file-bomb", memory_file),
    ("disk-bomb", disk),
    ("inode-bomb", inodes),
    ("long-file", long_file),
    ("descriptor-bomb", descriptors),
    ("inotify-bomb", inotify),
];

/// Processes, threads.
const MANY: usize = 400;
const MIB: usize = 1 << 20;
/// MiB of memory or of disk.
const MUCH: usize = 192;

fn counted(count: usize, enough: usize, what: &str) -> Outcome {
    match count < enough {
        true => Blocked(format!("{count} {what}, and no more")),
        false => Through(format!("{count} {what}, and no end")),
    }
}

fn forks(_: &Given) -> Outcome {
    let mut children = Vec::new();
    while children.len() < MANY {
        // SAFETY: this program has one thread.
        match unsafe { nix::unistd::fork() } {
            Ok(nix::unistd::ForkResult::Child) => loop {
                nix::unistd::pause();
            },
            Ok(nix::unistd::ForkResult::Parent { child }) => children.push(child),
            Err(_) => break,
        }
    }
    for child in &children {
        _ = kill(*child, Signal::SIGKILL);
        _ = waitpid(*child, None);
    }
    counted(children.len(), MANY, "processes")
}

fn threads(_: &Given) -> Outcome {
    let mut count = 0;
    while count < MANY {
        let spawned = std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
            std::thread::park();
        });
        if spawned.is_err() {
            break;
        }
        count += 1;
    }
    counted(count, MANY, "threads")
}

fn memory(_: &Given) -> Outcome {
    // Written to, so that it is real.
    let eaten: Vec<Vec<u8>> = (0..MUCH).map(|_| vec![1; MIB]).collect();
    counted(eaten.len(), MUCH, "MiB")
}

fn memory_file(_: &Given) -> Outcome {
    const NOEXEC_SEAL: usize = 8;
    let name = c"bomb".as_ptr() as usize;
    let made = call(libc::SYS_memfd_create, [name, NOEXEC_SEAL])
        .or_else(|_| call(libc::SYS_memfd_create, [name, 0]));
    // SAFETY: the kernel has just returned it.
    let file = made.map(|fd| unsafe { File::from_raw_fd(i32::try_from(fd).unwrap()) });
    match file {
        Ok(file) => counted(write_much(file), MUCH, "MiB"),
        Err(error) => Blocked(error.to_string()),
    }
}

fn write_much(mut file: File) -> usize {
    let block = vec![1; MIB];
    (0..MUCH).take_while(|_| file.write_all(&block).is_ok()).count()
}

fn disk(given: &Given) -> Outcome {
    // Several files: the size of one is bounded by another wall.
    let dir = Path::new(given.text("tmp"));
    let block = vec![1; MIB];
    let names = || (0..MUCH).map(|number| dir.join(format!("part-{number}")));
    let written = names().take_while(|path| fs::write(path, &block).is_ok()).count();
    names().for_each(|path| _ = fs::remove_file(path));
    counted(written, MUCH, "MiB")
}

fn inodes(given: &Given) -> Outcome {
    const ENOUGH: usize = 8000;
    let dir = Path::new(given.text("tmp")).join("inodes");
    fs::create_dir(&dir).unwrap();
    let made = (0..ENOUGH).take_while(|n| File::create(dir.join(n.to_string())).is_ok()).count();
    _ = fs::remove_dir_all(&dir);
    counted(made, ENOUGH, "files")
}

/// One file of 8 GiB, and nothing in it.
fn long_file(given: &Given) -> Outcome {
    let path = Path::new(given.text("work")).join("long");
    // The signal would end this; the error says the same.
    let ignored = nix::sys::signal::SigHandler::SigIgn;
    // SAFETY: no handler of ours runs.
    unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, ignored) }.unwrap();
    let grown = File::create(&path).and_then(|file| file.set_len(8 << 30));
    _ = fs::remove_file(&path);
    super::done(grown, "8 GiB long")
}

fn descriptors(_: &Given) -> Outcome {
    const ENOUGH: usize = 5000;
    _ = setrlimit(Resource::RLIMIT_NOFILE, ENOUGH as u64 * 2, ENOUGH as u64 * 2);
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let open: Vec<File> = (0..ENOUGH).map_while(|_| File::open("/dev/null").ok()).collect();
    counted(open.len(), ENOUGH, "open files")
}

/// What a payload holds of these, its user outside has no more.
fn inotify(_: &Given) -> Outcome {
    const ENOUGH: usize = 100;
    let made = |_: &usize| call(libc::SYS_inotify_init1, [0]).is_ok();
    counted((0..ENOUGH).take_while(made).count(), ENOUGH, "watchers")
}
