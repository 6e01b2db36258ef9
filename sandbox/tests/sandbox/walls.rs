//! What the payload cannot touch: processes, files, mounts, the kernel.

use std::fs;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use countersign_sandbox::{Exit, Mount};

use crate::world::{INSIDE, PATIENCE, Test, is_root, printed, run, sandbox, until};

pub(crate) const ALL: &[Test] = &[
    ("a_process_outside_cannot_be_killed_traced_or_seen", processes),
    ("a_file_outside_cannot_be_reached_by_its_path", paths),
    ("descriptors_of_the_caller_are_not_inherited", descriptors),
    ("nothing_can_be_mounted_and_no_namespace_made", mounts),
    ("kernel_settings_cannot_be_written", settings),
    ("only_unix_and_ordinary_internet_sockets_exist", sockets),
    ("dangerous_system_calls_are_refused", calls),
    ("calls_of_another_architecture_kill", foreign_calls),
    ("no_capability_is_left_and_none_can_come_back", capabilities),
    ("set_user_id_bits_cannot_be_set", set_id),
    ("a_program_in_memory_is_as_bounded_as_any_other", memory_program),
    ("the_tree_is_read_only_but_for_what_was_given", read_only),
    ("a_sandbox_in_a_sandbox_is_refused_by_name", nested),
    ("roots_payload_has_a_kernel_user_of_its_own", private_user),
];

fn assert_has(output: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            output.lines().any(|one| one.trim_end() == *line),
            "no line {line:?} in:\n{output}"
        );
    }
}

fn processes() {
    let mut victim =
        Command::new("/proc/self/exe").args([INSIDE, "hang"]).stdin(Stdio::null()).spawn().unwrap();
    let pid = victim.id().to_string();
    let output = printed(sandbox(["attack-process", &pid]));
    assert_has(&output, &["kill: Some(ESRCH)", "ptrace: Some(EPERM)", "proc: Some(ENOENT)"]);
    assert_has(&output, &["root of init: Some(ENOENT)", "environment of init: Some(ENOENT)"]);
    assert!(victim.try_wait().unwrap().is_none(), "the victim was killed");
    victim.kill().unwrap();
    victim.wait().unwrap();
}

fn paths() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "live state").unwrap();
    let direct = secret.display().to_string();
    let by_init = format!("/proc/1/root{direct}");
    let by_self = format!("/proc/self/root{direct}");
    let by_dots = format!("/tmp/../../../../..{direct}");
    let output = printed(sandbox(["cat", &direct, &by_init, &by_self, &by_dots]));
    assert!(!output.contains("live state"), "{output}");
    assert_eq!(output.matches("ENOENT").count(), 4, "{output}");
}

fn descriptors() {
    let leaked =
        nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty());
    // Left open for the rest of the tests, without the flag that closes it on exec.
    let leaked = leaked.unwrap().into_raw_fd();
    assert!(leaked > 2);
    // The fourth is the listing's own.
    assert_eq!(printed(sandbox(["list", "/proc/self/fd"])), "0 1 2 3\n");
}

fn mounts() {
    let output = printed(sandbox(["mounts"]));
    assert_eq!(output.matches("EPERM").count(), 8, "{output}");
}

fn settings() {
    let output = printed(sandbox([
        "write",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/self/oom_score_adj",
        "/sys/devices/system/cpu/online",
        "/proc/kcore",
    ]));
    assert!(!output.contains("ok"), "{output}");
}

fn sockets() {
    let output = printed(sandbox(["sockets"]));
    assert_has(&output, &["raw: Some(EPERM)", "raw v6: Some(EPERM)", "tcp: ok", "unix: ok"]);
    for refused in ["packet", "netlink", "vsock", "kernel crypto"] {
        assert_has(&output, &[&format!("{refused}: Some(EAFNOSUPPORT)")]);
    }
}

fn calls() {
    let output = printed(sandbox(["calls"]));
    for absent in ["io_uring_setup", "clone3", "openat2", "call of the future"] {
        assert_has(&output, &[&format!("{absent}: Some(ENOSYS)")]);
    }
    assert_has(&output, &["ask for the personality: ok"]);
    assert_eq!(output.matches("EPERM").count(), 19, "{output}");
    assert_eq!(output.lines().count(), 24, "{output}");
}

fn foreign_calls() {
    if cfg!(target_arch = "x86_64") {
        let (ended, output) = run(sandbox(["foreign-call"]));
        assert_eq!((ended.exit, output.as_str()), (Exit::Signal(libc::SIGSYS), ""));
    }
}

fn capabilities() {
    let output = printed(sandbox(["cat", "/proc/self/status"]));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_has(&output, &[&format!("{set}:\t0000000000000000")]);
    }
    assert_has(&output, &["NoNewPrivs:\t1", "Seccomp:\t2", "SigBlk:\t0000000000000000"]);
    let limit = printed(sandbox(["cat", "/proc/sys/user/max_user_namespaces"]));
    assert!(limit.ends_with("ok 0\n"), "{limit}");
}

fn set_id() {
    let output = printed(sandbox(["set-id", "/tmp"]));
    assert_has(&output, &["chmod: Some(EPERM)", "chmod group: Some(EPERM)", "create: Some(EPERM)"]);
    assert_has(&output, &["chmod plain: ok"]);
}

fn memory_program() {
    let output = printed(sandbox(["memory-program"]));
    assert_eq!(output.matches("EPERM").count(), 8, "{output}");
}

fn read_only() {
    let places = ["/new", "/usr/new", "/etc/passwd", "/test", "/dev/new", "/sys/new", "/proc/new"];
    let output = printed(sandbox([
        "write",
        "/new",
        "/usr/new",
        "/etc/passwd",
        "/test",
        "/dev/new",
        "/sys/new",
        "/proc/new",
    ]));
    for place in places {
        assert!(!output.contains(&format!("{place}: ok")), "{output}");
    }
    let output = printed(sandbox(["write", "/tmp/x", "/run/x", "/dev/shm/x", "/dev/null"]));
    assert_eq!(output.matches("ok").count(), 4, "{output}");

    let table = printed(sandbox(["cat", "/proc/self/mountinfo"]));
    for line in table.lines() {
        let fields: Vec<&str> =
            line.trim_start_matches("/proc/self/mountinfo: ok ").split(' ').collect();
        let (place, flags) = (fields[4], fields[5]);
        let writable = ["/tmp", "/run", "/dev/shm"].contains(&place);
        assert_eq!(flags.split(',').any(|flag| flag == "rw"), writable, "{line}");
        assert!(flags.contains("nosuid"), "{line}");
        assert!(flags.contains("nodev") || place.starts_with("/dev/"), "{line}");
    }
}

fn nested() {
    let output = printed(sandbox(["sandbox"]));
    assert_eq!(
        output,
        "this machine lacks user namespaces: /proc/sys/user/max_user_namespaces is 0\n"
    );
}

fn private_user() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let running = sandbox(["wait-for", "/scratch/mine", "/scratch/yours"])
        .mount(Mount::Writable { from: dir.path().into(), to: "/scratch".into() })
        .spawn()
        .unwrap();
    let mine = dir.path().join("mine");
    until("the payload has written", || mine.exists());
    let owner = fs::metadata(&mine).unwrap().uid();
    assert!((0x7000_0000..0x8000_0000).contains(&owner), "{owner:#x}");
    let other = sandbox(["wait-for", "/tmp/mine", "/tmp/yours"]).spawn().unwrap();
    drop(other);
    fs::write(dir.path().join("yours"), "x").unwrap();
    let ended = running.wait().unwrap();
    assert!(ended.usage.wall < PATIENCE);
    assert_eq!(fs::metadata(&mine).unwrap().uid(), 0);
}
