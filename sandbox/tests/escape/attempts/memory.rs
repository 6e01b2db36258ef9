//! Keys, shared memory and message queues of the live node, and of nobody.

use std::fs;
use std::io;

use super::{Given, Named, Outcome, TOKEN, call, done, read};

pub(super) const ALL: &[Named] = &[
    ("keyring-find", keyring_find),
    ("keyring-add", keyring_add),
    ("sysv-memory", sysv_memory),
    ("sysv-queue", sysv_queue),
    ("sysv-semaphores", sysv_semaphores),
    ("posix-memory", |given| {
        read(fs::read(given.text("posix-memory")), "the live node's shared memory was read")
    }),
    ("posix-queue", posix_queue),
];

fn named(given: &Given) -> std::ffi::CString {
    std::ffi::CString::new(given.text("key-name")).unwrap()
}

fn keyring_find(given: &Given) -> Outcome {
    let name = named(given);
    let found =
        call(libc::SYS_request_key, [c"user".as_ptr() as usize, name.as_ptr() as usize, 0, 0]);
    done(found, "the live node's key was found")
}

fn keyring_add(_: &Given) -> Outcome {
    const PROCESS_KEYRING: isize = -2;
    let added = call(
        libc::SYS_add_key,
        [
            c"user".as_ptr() as usize,
            c"countersign-escape".as_ptr() as usize,
            TOKEN.as_ptr() as usize,
            TOKEN.len(),
            PROCESS_KEYRING as usize,
        ],
    );
    done(added, "the kernel keeps a key of the payload's")
}

fn sysv_memory(given: &Given) -> Outcome {
    let key = given.number("sysv-key") as usize;
    let read_out = call(libc::SYS_shmget, [key, 0, 0]).and_then(|id| {
        let address = call(libc::SYS_shmat, [id as usize, 0, libc::SHM_RDONLY as usize])?;
        // SAFETY: the kernel has mapped a page there.
        Ok(unsafe { std::slice::from_raw_parts(address as *const u8, TOKEN.len()) })
    });
    read(read_out, "the live node's shared memory was read")
}

fn sysv_queue(given: &Given) -> Outcome {
    let found = call(libc::SYS_msgget, [given.number("sysv-key") as usize, 0]);
    done(found, "the live node's queue was opened")
}

fn sysv_semaphores(given: &Given) -> Outcome {
    let found = call(libc::SYS_semget, [given.number("sysv-key") as usize, 0, 0]);
    done(found, "the live node's semaphores were opened")
}

fn posix_queue(given: &Given) -> Outcome {
    let name = std::ffi::CString::new(given.text("posix-queue")).map_err(io::Error::from);
    let opened = name.and_then(|name| {
        call(libc::SYS_mq_open, [name.as_ptr() as usize, libc::O_RDONLY as usize])
    });
    done(opened, "the live node's queue was opened")
}
