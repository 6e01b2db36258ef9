//! Doors of the kernel that a payload has no use for, and that most ways out have led through.

use super::{Given, Named, Outcome, any, call, done};

pub(super) const ALL: &[Named] = &[
    ("io-uring", io_uring),
    ("int-0x80", int_0x80),
    ("x32", x32),
    ("bpf", bpf),
    ("perf-event-open", perf),
    ("userfaultfd", |_| {
        any([0, 1]
            .map(|flags| done(call(libc::SYS_userfaultfd, [flags]), "page faults are its own")))
    }),
    ("fanotify", |_| done(call(libc::SYS_fanotify_init, [0, 0]), "it sees who opens what")),
    ("kcmp", |_| {
        let me = std::process::id() as usize;
        done(call(libc::SYS_kcmp, [me, me, 1, 0, 0]), "it compares the kernel's pointers")
    }),
    ("ldt", |_| ldt()),
    ("personality", |_| {
        const READ_IMPLIES_EXEC: usize = 0x0040_0000;
        done(call(libc::SYS_personality, [READ_IMPLIES_EXEC]), "all that is read can be executed")
    }),
    ("terminal-input", terminal_input),
];

fn io_uring(_: &Given) -> Outcome {
    let mut parameters = [0_u32; 30];
    done(
        call(libc::SYS_io_uring_setup, [8, parameters.as_mut_ptr() as usize]),
        "a ring that no filter sees through",
    )
}

/// The system call of 32-bit programs, whose numbers are others.
#[cfg(target_arch = "x86_64")]
fn int_0x80(_: &Given) -> Outcome {
    let mut result: i32 = 20;
    // SAFETY: number 20 is getpid, which takes and touches nothing but the result's register.
    unsafe { std::arch::asm!("int 0x80", inout("eax") result) };
    match u32::try_from(result) {
        Ok(pid) if pid == std::process::id() => {
            Outcome::Through("calls of another architecture work".to_owned())
        }
        _ => Outcome::Blocked("it did nothing".to_owned()),
    }
}

#[cfg(target_arch = "x86_64")]
fn x32(_: &Given) -> Outcome {
    const X32: libc::c_long = 0x4000_0000;
    done(call(X32 + libc::SYS_getpid, []), "calls of another numbering work")
}

#[cfg(target_arch = "x86_64")]
fn ldt() -> Outcome {
    let mut table = [0_u64; 8];
    let read = call(libc::SYS_modify_ldt, [0, table.as_mut_ptr() as usize, size_of_val(&table)]);
    done(read, "it may make segments of its own")
}

#[cfg(not(target_arch = "x86_64"))]
fn int_0x80(_: &Given) -> Outcome {
    Outcome::NotHere("another architecture".to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
fn x32(_: &Given) -> Outcome {
    Outcome::NotHere("another architecture".to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
fn ldt() -> Outcome {
    Outcome::NotHere("another architecture".to_owned())
}

fn bpf(_: &Given) -> Outcome {
    // BPF_MAP_CREATE of an array: type, key size, value size, entries.
    let mut attributes = [0_u32; 32];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
    let made = call(libc::SYS_bpf, [0, attributes.as_ptr() as usize, size_of_val(&attributes)]);
    done(made, "programs of the kernel's are its own")
}

fn perf(_: &Given) -> Outcome {
    // A software clock (type 1, size 64), of user space only.
    let mut attributes = [0_u64; 16];
    attributes[0] = 1 | 64 << 32;
    attributes[5] = 1 << 5 | 1 << 6;
    let none = usize::MAX;
    let opened = call(libc::SYS_perf_event_open, [attributes.as_ptr() as usize, 0, none, none, 0]);
    done(opened, "the processor's counters are its own")
}

/// Words put into the terminal of whoever started it. It was given one where that is possible.
fn terminal_input(_: &Given) -> Outcome {
    const TIOCSTI: usize = 0x5412;
    let word = b'x';
    match call(libc::SYS_ioctl, [0, TIOCSTI, &raw const word as usize]) {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => {
            Outcome::NotHere("the machine has switched it off (dev.tty.legacy_tiocsti)".to_owned())
        }
        other => done(other, "words came into the caller's terminal"),
    }
}
