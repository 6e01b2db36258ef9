//! What a hostile payload tries.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::Command;

use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;

use super::show;
use crate::world::INSIDE;

pub(super) fn attack(pid: i32) {
    let pid = Pid::from_raw(pid);
    show("kill", nix::sys::signal::kill(pid, Signal::SIGKILL).map_err(Into::into));
    show("ptrace", nix::sys::ptrace::attach(pid).map_err(Into::into));
    show(
        "stop init",
        nix::sys::signal::kill(Pid::from_raw(1), Signal::SIGSTOP).map_err(Into::into),
    );
    show("proc", fs::read_to_string(format!("/proc/{pid}/cmdline")));
    show("root of init", fs::read_to_string("/proc/1/root/etc/passwd"));
    show("environment of init", fs::read_to_string("/proc/1/environ"));
}

pub(super) fn mounts() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let none = None::<&str>;
    show(
        "mount",
        mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), none).map_err(Into::into),
    );
    let remount = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    show("remount", mount(none, "/usr", none, remount, none).map_err(Into::into));
    show("umount", umount2("/proc/cpuinfo", MntFlags::MNT_DETACH).map_err(Into::into));
    show("chroot", nix::unistd::chroot("/tmp").map_err(Into::into));
    for (name, flag) in [
        ("user namespace", CloneFlags::CLONE_NEWUSER),
        ("mount namespace", CloneFlags::CLONE_NEWNS),
        ("network namespace", CloneFlags::CLONE_NEWNET),
    ] {
        show(name, nix::sched::unshare(flag).map_err(Into::into));
    }
    let own = File::open("/proc/self/ns/net").unwrap();
    show("setns", nix::sched::setns(own, CloneFlags::CLONE_NEWNET).map_err(Into::into));
}

pub(super) fn sockets() {
    for (name, family, kind) in [
        ("raw", AddressFamily::Inet, SockType::Raw),
        ("raw v6", AddressFamily::Inet6, SockType::Raw),
        ("packet", AddressFamily::Packet, SockType::Raw),
        ("netlink", AddressFamily::Netlink, SockType::Raw),
        ("vsock", AddressFamily::Vsock, SockType::Stream),
        ("kernel crypto", AddressFamily::Alg, SockType::SeqPacket),
        ("tcp", AddressFamily::Inet, SockType::Stream),
        ("unix", AddressFamily::Unix, SockType::Stream),
    ] {
        show(name, socket(family, kind, SockFlag::empty(), None).map(drop).map_err(Into::into));
    }
}

/// A system call with two numbers as arguments.
fn call(number: libc::c_long, first: libc::c_long, second: libc::c_long) -> io::Result<()> {
    let zero: libc::c_long = 0;
    // SAFETY: the callers pass numbers of which the kernel makes no pointers into our memory, or null.
    match unsafe { libc::syscall(number, first, second, zero, zero, zero) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// As many inotify instances as can be had.
pub(super) fn inotify() {
    let held = std::iter::repeat_with(|| call(libc::SYS_inotify_init1, 0, 0));
    println!("{}", held.take_while(Result::is_ok).count());
}

pub(super) fn calls() {
    for (name, number) in [
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("clone3", libc::SYS_clone3),
        ("openat2", libc::SYS_openat2),
        ("call of the future", 1000),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("keyctl", libc::SYS_keyctl),
        ("add_key", libc::SYS_add_key),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("open_tree", libc::SYS_open_tree),
        ("fsopen", libc::SYS_fsopen),
        ("clock_settime", libc::SYS_clock_settime),
        ("sethostname", libc::SYS_sethostname),
        ("init_module", libc::SYS_init_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("swapon", libc::SYS_swapon),
        ("quotactl", libc::SYS_quotactl),
        ("reboot", libc::SYS_reboot),
    ] {
        show(name, call(number, 0, 0));
    }
    show("clone into a user namespace", call(libc::SYS_clone, libc::CLONE_NEWUSER.into(), 0));
    show("push input to a terminal", call(libc::SYS_ioctl, 0, 0x5412));
    show("personality", call(libc::SYS_personality, 0x0040_0000, 0));
    show("ask for the personality", call(libc::SYS_personality, 0xffff_ffff, 0));
}

/// A system call of 32-bit programs, whose numbers the filter does not know.
pub(super) fn foreign_call() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: number 20 is getpid, which takes and touches nothing but the result's register.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") 20 => _);
    }
    println!("survived");
}

pub(super) fn set_id(dir: &str) {
    let path = format!("{dir}/program");
    fs::write(&path, "x").unwrap();
    show("chmod", fs::set_permissions(&path, Permissions::from_mode(0o4755)));
    show("chmod group", fs::set_permissions(&path, Permissions::from_mode(0o2755)));
    show("chmod plain", fs::set_permissions(&path, Permissions::from_mode(0o755)));
    let created =
        OpenOptions::new().write(true).create(true).mode(0o4755).open(format!("{dir}/other"));
    show("create", created.map(drop));
}

/// Executes a copy of this program from memory: allowed, and as bounded as this one.
pub(super) fn memory_program() {
    // SAFETY: a NUL-terminated name and no flags.
    let fd = unsafe { libc::memfd_create(c"copy".as_ptr(), 0) };
    assert!(fd >= 0);
    // SAFETY: the kernel has just returned it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(&fs::read("/proc/self/exe").unwrap()).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let output = Command::new(path).args([INSIDE, "mounts"]).output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
}
