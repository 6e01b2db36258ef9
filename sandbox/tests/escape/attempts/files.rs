//! The live node's files, by every way there is to a file.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;

use super::{Given, Named, Outcome, TOKEN, any, call, done, errno, reached, read};

pub(super) const ALL: &[Named] = &[
    ("live-path", |given| read(fs::read(given.text("secret")), "the live state was read")),
    ("live-dots", dots),
    ("live-symlink", symlink),
    ("live-hardlink", hardlink),
    ("live-proc-root", proc_root),
    ("live-descriptor", descriptor),
    ("live-handle", handle),
    ("live-write", live_write),
    ("device-node", device_node),
    ("disk-node", disk_node),
    ("devices", devices),
    ("system-program", system_program),
    ("own-program", own_program),
    ("environment", environment),
];

fn dots(given: &Given) -> Outcome {
    let up = "../".repeat(20);
    std::env::set_current_dir(given.text("work")).unwrap();
    read(fs::read(format!("{up}{}", given.text("secret"))), "the live state was read")
}

fn symlink(given: &Given) -> Outcome {
    let link = Path::new(given.text("work")).join("link");
    let read_by_it =
        std::os::unix::fs::symlink(given.text("secret"), &link).and_then(|()| fs::read(&link));
    _ = fs::remove_file(&link);
    read(read_by_it, "the live state was read")
}

fn hardlink(given: &Given) -> Outcome {
    let link = Path::new(given.text("work")).join("name");
    let read_by_it = fs::hard_link(given.text("secret"), &link).and_then(|()| fs::read(&link));
    _ = fs::remove_file(&link);
    read(read_by_it, "the live state was read")
}

fn proc_root(given: &Given) -> Outcome {
    let secret = given.text("secret");
    let roots = ["1".to_owned(), "self".to_owned(), given.pid().to_string()];
    any(roots.map(|root| {
        read(fs::read(format!("/proc/{root}/root{secret}")), "the live state was read")
    }))
}

/// Descriptors that the caller forgot to close.
fn descriptor(_: &Given) -> Outcome {
    any((3..1024).map(|number| {
        let copy = call(libc::SYS_dup, [number]).map(|fd| {
            // SAFETY: the kernel has just returned it.
            unsafe { File::from_raw_fd(i32::try_from(fd).unwrap()) }
        });
        let mut text = vec![0; TOKEN.len()];
        read(
            // At a place: what is no file would block.
            copy.and_then(|file| file.read_exact_at(&mut text, 0)).map(|()| text),
            "a descriptor of the caller's was open, and read",
        )
    }))
}

/// A file by its number on the disk, whatever is mounted here.
fn handle(given: &Given) -> Outcome {
    let words: Vec<u8> = given
        .text("handle")
        .as_bytes()
        .chunks(2)
        .filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .collect();
    any(["/usr", "/given", given.text("work")].map(|place| {
        let opened = File::open(place).and_then(|mount| {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&mount) as usize;
            call(libc::SYS_open_by_handle_at, [fd, words.as_ptr() as usize, 0])
        });
        // SAFETY: the kernel has just returned it.
        let file = opened.map(|fd| unsafe { File::from_raw_fd(i32::try_from(fd).unwrap()) });
        read(
            file.and_then(|mut file| {
                let mut text = Vec::new();
                file.read_to_end(&mut text).map(|_| text)
            }),
            "the live state was read by its number on the disk",
        )
    }))
}

fn live_write(given: &Given) -> Outcome {
    let paths = [given.text("secret").to_owned(), format!("/proc/1/root{}", given.text("secret"))];
    any(paths.map(|path| {
        done(OpenOptions::new().append(true).open(path), "the live state can be written")
    }))
}

fn make_node(given: &Given, kind: u32, device: (u64, u64)) -> Outcome {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    any(["work", "tmp"].map(|dir| {
        let node = Path::new(given.text(dir)).join("node");
        let (kind, device) = (SFlag::from_bits_truncate(kind), makedev(device.0, device.1));
        let opened = errno(mknod(&node, kind, Mode::from_bits_truncate(0o600), device))
            .and_then(|()| File::open(&node));
        _ = fs::remove_file(&node);
        done(opened, "a device node was made and opened")
    }))
}

fn device_node(given: &Given) -> Outcome {
    // /dev/kmsg: the kernel's log.
    make_node(given, libc::S_IFCHR, (1, 11))
}

/// The disk that the live state lies on.
fn disk_node(given: &Given) -> Outcome {
    let device = given.number("disk") as u64;
    make_node(given, libc::S_IFBLK, (device >> 32, device & 0xffff_ffff))
}

fn devices(_: &Given) -> Outcome {
    let names = ["kmsg", "mem", "kvm", "fuse", "net/tun", "loop-control", "vsock", "vhost-vsock"];
    any(names.map(|name| {
        done(File::open(Path::new("/dev").join(name)), &format!("/dev/{name} was opened"))
    }))
}

fn system_program(_: &Given) -> Outcome {
    any(["/usr/bin/env", "/usr/bin/newgrp"].map(|path| {
        done(OpenOptions::new().append(true).open(path), "a program of the machine can be written")
    }))
}

fn own_program(_: &Given) -> Outcome {
    let opened = OpenOptions::new().append(true).open("/proc/self/exe");
    reached(opened, &[Errno::ETXTBSY], "its own program outside can be written once it has ended")
}

fn environment(_: &Given) -> Outcome {
    let all: Vec<u8> = fs::read("/proc/self/environ").unwrap();
    read(Ok(all), "a variable of the caller's was there")
}
