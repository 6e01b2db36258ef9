//! The live node's process: signals, tracing, memory, descriptors.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use nix::unistd::Pid;

use super::{Given, Named, Outcome, TOKEN, call, done, errno, read};

pub(super) const ALL: &[Named] = &[
    ("kill", kill),
    ("kill-by-descriptor", kill_by_descriptor),
    ("signal-by-file", signal_by_file),
    ("ptrace", ptrace),
    ("process-vm-readv", process_vm_readv),
    ("proc-mem", proc_mem),
    ("proc-environ", proc_environ),
    ("pidfd-getfd", pidfd_getfd),
    ("prlimit", prlimit),
    ("init-memory", init_memory),
];

fn kill(given: &Given) -> Outcome {
    // Signal 0 asks for the right and does nothing.
    done(errno(nix::sys::signal::kill(Pid::from_raw(given.pid()), None)), "it may be killed")
}

fn pidfd(given: &Given) -> std::io::Result<i64> {
    call(libc::SYS_pidfd_open, [given.pid() as usize, 0])
}

fn kill_by_descriptor(given: &Given) -> Outcome {
    let sent =
        pidfd(given).and_then(|fd| call(libc::SYS_pidfd_send_signal, [fd as usize, 0, 0, 0]));
    done(sent, "it may be killed")
}

fn signal_by_file(given: &Given) -> Outcome {
    let file = File::open("/dev/null").unwrap();
    let owner = given.pid() as usize;
    let set = call(
        libc::SYS_fcntl,
        [std::os::fd::AsRawFd::as_raw_fd(&file) as usize, libc::F_SETOWN as usize, owner],
    );
    done(set, "the kernel signals it on the payload's behalf")
}

fn ptrace(given: &Given) -> Outcome {
    const PTRACE_SEIZE: usize = 0x4206;
    done(call(libc::SYS_ptrace, [PTRACE_SEIZE, given.pid() as usize, 0, 0]), "it is traced")
}

fn process_vm_readv(given: &Given) -> Outcome {
    let mut bytes = [0_u8; TOKEN.len()];
    let here = [bytes.as_mut_ptr() as usize, bytes.len()];
    let there = [given.number("address") as usize, bytes.len()];
    let copied = call(
        libc::SYS_process_vm_readv,
        [given.pid() as usize, here.as_ptr() as usize, 1, there.as_ptr() as usize, 1, 0],
    );
    read(copied.map(|_| bytes), "its memory was read")
}

fn proc_mem(given: &Given) -> Outcome {
    let mut bytes = [0_u8; TOKEN.len()];
    let copied = File::open(format!("/proc/{}/mem", given.pid()))
        .and_then(|file| file.read_exact_at(&mut bytes, given.number("address") as u64));
    read(copied.map(|()| bytes), "its memory was read")
}

fn proc_environ(given: &Given) -> Outcome {
    read(fs::read(format!("/proc/{}/environ", given.pid())), "its environment was read")
}

fn pidfd_getfd(given: &Given) -> Outcome {
    let taken = pidfd(given).and_then(|fd| {
        call(libc::SYS_pidfd_getfd, [fd as usize, given.number("descriptor") as usize, 0])
    });
    done(taken, "its open file was taken")
}

fn prlimit(given: &Given) -> Outcome {
    let mut limit = [0_u64; 2];
    let asked = call(
        libc::SYS_prlimit64,
        [given.pid() as usize, libc::RLIMIT_NOFILE as usize, 0, limit.as_mut_ptr() as usize],
    );
    done(asked, "its limits can be read, and set likewise")
}

/// The first process, whoever that is here.
fn init_memory(_: &Given) -> Outcome {
    done(File::open("/proc/1/mem"), "the memory of the first process is open")
}
