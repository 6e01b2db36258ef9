//! Which system calls a payload does not have, and when.

/// A call, the error it gets, and the conditions that must all hold for that.
pub(super) type Rule = (i64, i32, Vec<When>);

/// Not in `libc` for every architecture.
const SYS_FCHMODAT2: i64 = 452;

const SET_ID_BITS: u32 = 0o6000;

/// A mode is an argument only where a file may be created. The second is `O_TMPFILE`'s own bit.
const CREATE: u32 = libc::O_CREAT.unsigned_abs() | 0o20_000_000;

/// One condition on the lower half of an argument (both targets are little endian).
#[derive(Clone, Copy)]
pub(super) enum When {
    /// Equal.
    Is(u32, u32),
    /// Different.
    IsNot(u32, u32),
    /// Some bit of the mask is set.
    Any(u32, u32),
    /// The masked bits are this value.
    Masked(u32, u32, u32),
    /// The upper half is not zero.
    High(u32),
}
use When::{Any, High, Is, IsNot, Masked};

/// Refused with `EPERM`, whatever the arguments.
pub(super) const NEVER: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Kernel keys, programs and traces.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
];

/// Refused as if the kernel had not got them: programs fall back to what the filter can judge. `io_uring`
/// does I/O behind every filter; `clone3` and `openat2` keep their flags where a filter cannot look.
pub(super) const ABSENT: &[i64] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_clone3,
    libc::SYS_openat2,
    libc::SYS_memfd_secret,
];

/// Refused when all conditions hold.
pub(super) fn sometimes() -> Vec<Rule> {
    let unix = libc::AF_UNIX.unsigned_abs();
    let families = vec![
        IsNot(0, unix),
        IsNot(0, libc::AF_INET.unsigned_abs()),
        IsNot(0, libc::AF_INET6.unsigned_abs()),
    ];
    // SOCK_PACKET, the ancient way to a packet socket, is 10.
    let raw = |kind: u32| vec![IsNot(0, unix), Masked(1, 0xf, kind)];
    let namespaces = (libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET)
        .unsigned_abs();
    let create = CREATE;
    let query = u32::MAX;
    let fixed_addresses = libc::ADDR_NO_RANDOMIZE.unsigned_abs();
    vec![
        (libc::SYS_socket, libc::EAFNOSUPPORT, families.clone()),
        (libc::SYS_socketpair, libc::EAFNOSUPPORT, families),
        (libc::SYS_socket, libc::EPERM, raw(libc::SOCK_RAW.unsigned_abs())),
        (libc::SYS_socket, libc::EPERM, raw(10)),
        (libc::SYS_clone, libc::EPERM, vec![Any(0, namespaces)]),
        // Words put into a terminal's input, or its selection.
        (libc::SYS_ioctl, libc::EPERM, vec![Is(1, 0x5412)]),
        (libc::SYS_ioctl, libc::EPERM, vec![Is(1, 0x541c)]),
        (
            libc::SYS_personality,
            libc::EPERM,
            vec![IsNot(0, query), IsNot(0, 0), IsNot(0, fixed_addresses)],
        ),
        // Limits of others: as a plain user, init has the payload's own user id.
        (libc::SYS_prlimit64, libc::EPERM, vec![IsNot(0, 0), IsNot(2, 0)]),
        (libc::SYS_prlimit64, libc::EPERM, vec![IsNot(0, 0), High(2)]),
        (libc::SYS_fchmod, libc::EPERM, vec![Any(1, SET_ID_BITS)]),
        (libc::SYS_fchmodat, libc::EPERM, vec![Any(2, SET_ID_BITS)]),
        (SYS_FCHMODAT2, libc::EPERM, vec![Any(2, SET_ID_BITS)]),
        (libc::SYS_mknodat, libc::EPERM, vec![Any(2, SET_ID_BITS)]),
        (libc::SYS_openat, libc::EPERM, vec![Any(2, create), Any(3, SET_ID_BITS)]),
        (libc::SYS_mq_open, libc::EPERM, vec![Any(1, create), Any(2, SET_ID_BITS)]),
    ]
}

/// Refused when all conditions hold, and only on this architecture: the newer ones have no such calls.
#[cfg(target_arch = "x86_64")]
pub(super) fn sometimes_here() -> Vec<Rule> {
    let create = CREATE;
    vec![
        (libc::SYS_chmod, libc::EPERM, vec![Any(1, SET_ID_BITS)]),
        (libc::SYS_mknod, libc::EPERM, vec![Any(1, SET_ID_BITS)]),
        (libc::SYS_creat, libc::EPERM, vec![Any(1, SET_ID_BITS)]),
        (libc::SYS_open, libc::EPERM, vec![Any(1, create), Any(2, SET_ID_BITS)]),
    ]
}

/// Refused when all conditions hold, and only on this architecture.
#[cfg(target_arch = "aarch64")]
pub(super) fn sometimes_here() -> Vec<Rule> {
    Vec::new()
}
