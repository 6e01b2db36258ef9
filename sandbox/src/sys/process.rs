//! Forking, capabilities, descriptors and the like.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{ForkResult, Pid};

use super::check;

/// Which side of a [`fork`] this is.
pub(crate) enum Fork {
    /// The parent, and the child's process id in the parent's namespace.
    Parent(Pid),
    /// The child.
    Child,
}

/// Forks. Refused in a process with more than one thread, where the child could inherit a held lock.
pub(crate) fn fork() -> io::Result<Fork> {
    if !single_threaded()? {
        return Err(io::Error::other(
            "more than one thread; init_if_asked() must come first in main()",
        ));
    }
    // SAFETY: the process has one thread (checked above), so no lock can be held by a thread that the
    // child lacks, and the child may run any code.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Whether this process has one thread. `Threads` of `/proc/self/status` counts them.
fn single_threaded() -> io::Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    Ok(threads.is_some_and(|count| count.trim() == "1"))
}

/// Takes over a descriptor number received from the kernel in a control message.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass numbers which the kernel has just installed (for an `SCM_RIGHTS` message,
    // or as a copy), or descriptor 0 at the start of a stage; nothing else owns them.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A copy of a descriptor above every number that a payload is given; closed by `execve`.
pub(crate) fn out_of_the_way(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const ABOVE: RawFd = 512;
    Ok(own(fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE))?))
}

/// Puts a copy of a descriptor at this number, in place of what is there, open across `execve`.
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: called by the payload's process only, whose one way on is execve or exit: no owner of the
    // number's former descriptor runs again, so none can be surprised.
    check(libc::c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) }))?;
    Ok(())
}

/// Closes every descriptor from `first` up.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: called at the very start of the keeper, before it has opened anything: what is closed was
    // inherited, and has no owner in this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Lets all threads of this process share one heap: for a few short ones a heap each costs more than it saves.
pub(crate) fn one_heap() {
    // SAFETY: two integers; called while there is one thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Marks every descriptor from `first` up as to be closed by `execve`.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: integers only; marking descriptors breaks no owner's assumption, they stay open here.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })?;
    Ok(())
}

/// Default action for every signal, and none blocked.
pub(crate) fn default_signals() -> io::Result<()> {
    // `struct sigaction` of the kernel on both architectures: handler (0 is SIG_DFL), flags, restorer, mask.
    // Why not libc::signal? It refuses two numbers that glibc keeps for itself and a caller may ignore.
    let default = [0_u64; 4];
    let null: *const u64 = std::ptr::null();
    for signal in 1..=64 {
        // SAFETY: the kernel reads one struct of the size it has, and writes none. SIG_DFL runs no code.
        // SIGKILL and SIGSTOP are refused with EINVAL, which is fine: they cannot be ignored either.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), null, size_of::<u64>())
        };
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Sets the NIS domain name of this UTS namespace.
pub(crate) fn set_domain_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe one live str; the kernel copies it.
    check(libc::c_long::from(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }))?;
    Ok(())
}

/// Keeps the next program's addresses where they would be without randomisation.
pub(crate) fn disable_aslr() -> io::Result<()> {
    let flag = libc::c_ulong::try_from(libc::ADDR_NO_RANDOMIZE).unwrap_or_default();
    // SAFETY: an integer only; it takes effect at the next execve.
    check(libc::c_long::from(unsafe { libc::personality(flag) }))?;
    Ok(())
}

/// Empties the bounding set.
pub(crate) fn drop_bounding() -> io::Result<()> {
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // EINVAL: past the last capability this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && capability > 30 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Empties the ambient set.
pub(crate) fn drop_ambient() -> io::Result<()> {
    let clear = libc::c_ulong::try_from(libc::PR_CAP_AMBIENT_CLEAR_ALL).unwrap_or_default();
    prctl(libc::PR_CAP_AMBIENT, clear)
}

/// Root's id brings no capability back, for ever.
pub(crate) fn lock_securebits() -> io::Result<()> {
    let bits = libc::SECBIT_NOROOT
        | libc::SECBIT_NOROOT_LOCKED
        | libc::SECBIT_NO_SETUID_FIXUP
        | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
        | libc::SECBIT_KEEP_CAPS_LOCKED
        | libc::SECBIT_NO_CAP_AMBIENT_RAISE
        | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    prctl(libc::PR_SET_SECUREBITS, libc::c_ulong::try_from(bits).unwrap_or_default())
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used in this file take integers, no pointers.
    check(libc::c_long::from(unsafe { libc::prctl(option, argument, zero, zero, zero) }))?;
    Ok(())
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets this thread's effective and permitted capabilities to exactly these (a bit each), inheritable to none.
pub(crate) fn set_capabilities(keep: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = CapHeader { version: VERSION_3, pid: 0 };
    let half = |bits: u64| {
        let bits = u32::try_from(bits & 0xffff_ffff).unwrap_or_default();
        CapData { effective: bits, permitted: bits, inheritable: 0 }
    };
    let data = [half(keep), half(keep >> 32)];
    // SAFETY: version 3 reads one header and two data structs, laid out as the kernel's and alive.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}
