//! Settings of the machine, all of them only opened, or set to what they are.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use nix::errno::Errno;

use super::{Given, Named, Outcome, any, call, done, reached};

pub(super) const ALL: &[Named] = &[
    ("core-pattern", |_| written(&["/proc/sys/kernel/core_pattern"])),
    ("sysctl", |_| {
        written(&["/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/hung_task_timeout_secs"])
    }),
    ("network-sysctl", |_| written(&["/proc/sys/net/core/somaxconn"])),
    ("sysrq", |_| written(&["/proc/sysrq-trigger"])),
    ("kernel-memory", kernel_memory),
    ("kernel-log", kernel_log),
    ("out-of-memory-score", out_of_memory_score),
    ("control-groups", control_groups),
    ("clock", clock),
    ("module", |_| {
        let loaded = call(libc::SYS_init_module, [0, 0, 0]);
        let after = [Errno::EFAULT, Errno::ENOEXEC, Errno::EINVAL];
        reached(loaded, &after, "the kernel would load a module")
    }),
    ("kexec", |_| {
        let after = [Errno::EINVAL, Errno::EADDRNOTAVAIL];
        let loaded = call(libc::SYS_kexec_load, [0, 0, 0, 0xffff]);
        reached(loaded, &after, "another kernel could be loaded")
    }),
    ("reboot", |_| {
        // Magic numbers that are none.
        reached(
            call(libc::SYS_reboot, [0, 0, 0, 0]),
            &[Errno::EINVAL],
            "it may restart the machine",
        )
    }),
    ("swap", |_| {
        let path = c"/no/such/file";
        let off = call(libc::SYS_swapoff, [path.as_ptr() as usize]);
        reached(off, &[Errno::ENOENT], "it may switch swap off")
    }),
    ("accounting", |_| done(call(libc::SYS_acct, [0]), "it may switch accounting off")),
    ("realtime", realtime),
];

fn written(paths: &[&str]) -> Outcome {
    any(paths.iter().map(|path| {
        done(OpenOptions::new().write(true).open(path), &format!("{path} can be written"))
    }))
}

fn kernel_memory(_: &Given) -> Outcome {
    any(["/proc/kcore", "/dev/mem"].map(|path| {
        let first = File::open(path).and_then(|mut file| {
            let mut one = [0];
            match io::Read::read(&mut file, &mut one)? {
                0 => Err(io::Error::other("it is empty")),
                read => Ok(read),
            }
        });
        done(first, &format!("{path} was read"))
    }))
}

fn kernel_log(_: &Given) -> Outcome {
    const READ_ALL: usize = 3;
    let mut line = [0_u8; 16];
    let read = call(libc::SYS_syslog, [READ_ALL, line.as_mut_ptr() as usize, line.len()]);
    done(read, "the kernel's log was read")
}

fn out_of_memory_score(_: &Given) -> Outcome {
    let lowered = OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .and_then(|mut file| io::Write::write_all(&mut file, b"-999"));
    done(lowered, "others die first when memory is short")
}

/// Out of its own group, by any hierarchy.
fn control_groups(_: &Given) -> Outcome {
    let mut found = vec!["/sys/fs/cgroup".into()];
    for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        found.push(entry.path());
    }
    any(found.iter().map(|dir: &std::path::PathBuf| {
        let procs = Path::new(dir).join("cgroup.procs");
        done(OpenOptions::new().write(true).open(procs), "it can leave its control group")
    }))
}

fn clock(_: &Given) -> Outcome {
    // SAFETY: a struct of integers, for which zeros are valid.
    let mut now: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: one live struct of the type the call expects; no mode is set, so it only reads.
    unsafe { libc::adjtimex(&raw mut now) };
    // As fast as it is.
    now.modes = libc::ADJ_TICK;
    now.tick = if now.tick == 0 { 10_000 } else { now.tick };
    let set = call(libc::SYS_adjtimex, [&raw mut now as usize]);
    done(set, "the machine's clock can be set")
}

fn realtime(_: &Given) -> Outcome {
    let priority = 1_i32;
    let set = call(
        libc::SYS_sched_setscheduler,
        [0, libc::SCHED_FIFO as usize, &raw const priority as usize],
    );
    done(set, "it runs before everybody else")
}
