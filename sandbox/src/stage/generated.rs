//! The files that the payload sees instead of the machine's: `/etc`, parts of `/proc`, processor lists.

use std::fmt::Write;

use crate::clock::Stream;
use crate::net::NAME_SERVER;
use crate::options::{Identity, Machine, Network, Random};
use crate::spec::Plan;

/// What memory the machine seems to have when the payload has no limit: 4 GiB.
const MEMORY: u64 = 4 << 30;

/// A name and a content.
pub(crate) type Generated = (&'static str, String);

/// `/etc`. No name in it depends on the machine.
pub(crate) fn etc(plan: &Plan) -> Vec<Generated> {
    let Identity { user, uid, gid, hostname, domain } = &plan.identity;
    let mut passwd = String::new();
    let mut group = String::new();
    for (name, uid, gid, home) in
        [("root", 0, 0, "/"), (user.as_str(), *uid, *gid, "/tmp"), ("nobody", 65534, 65534, "/")]
    {
        if uid != plan.identity.uid || name == user {
            _ = writeln!(passwd, "{name}:x:{uid}:{gid}::{home}:/bin/sh");
        }
        if gid != plan.identity.gid || name == user {
            _ = writeln!(group, "{name}:x:{gid}:");
        }
    }
    let resolv = match plan.network {
        Network::None => String::new(),
        Network::Sinkhole => format!("nameserver {NAME_SERVER}\noptions timeout:2 attempts:1\n"),
    };
    vec![
        ("passwd", passwd),
        ("group", group),
        (
            "hosts",
            format!(
                "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {hostname}.{domain} {hostname}\n"
            ),
        ),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", resolv),
        ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n".into()),
        ("machine-id", machine_id(&plan.machine)),
    ]
}

/// The same machine id everywhere, unless another is asked for.
pub(crate) fn machine_id(machine: &Machine) -> String {
    format!("{:032x}\n", number(machine))
}

fn number(machine: &Machine) -> u64 {
    machine.mask.as_ref().map_or(1, |mask| mask.machine_id)
}

/// Top-level files of `/proc` that are replaced. All others but the process directories and
/// [`KEPT`] are empty.
pub(crate) fn proc(cpus: usize, memory: Option<u64>, machine: &Machine) -> Vec<Generated> {
    let mask = machine.mask.as_ref();
    let kib = mask.map(|mask| mask.memory).or(memory).unwrap_or(MEMORY) / 1024;
    let version = match mask {
        Some(mask) => format!("Linux version {} ({})\n", mask.kernel_release, mask.kernel_version),
        None => "Linux version 0 (countersign) #1\n".to_owned(),
    };
    let half = kib / 2;
    let mut cpuinfo = String::new();
    let mut stat = String::from("cpu  0 0 0 0 0 0 0 0 0 0\n");
    for cpu in 0..cpus {
        _ = write!(cpuinfo, "processor\t: {cpu}\n{}\n", features());
        _ = writeln!(stat, "cpu{cpu} 0 0 0 0 0 0 0 0 0 0");
    }
    stat.push_str("intr 0\nctxt 0\nbtime 0\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n");
    vec![
        ("cpuinfo", cpuinfo),
        ("stat", stat),
        (
            "meminfo",
            format!(
                "MemTotal:       {kib} kB\nMemFree:        {half} kB\nMemAvailable:   {half} kB\n\
                 Buffers:        0 kB\nCached:         0 kB\nSwapTotal:      0 kB\nSwapFree:       0 kB\n"
            ),
        ),
        ("uptime", "1.00 1.00\n".to_owned()),
        ("loadavg", "0.00 0.00 0.00 1/1 1\n".to_owned()),
        ("version", version),
    ]
}

/// Top-level names of `/proc` that stay: they tell of the payload itself, or of nothing secret.
pub(crate) const KEPT: [&str; 6] = ["self", "thread-self", "mounts", "net", "sys", "filesystems"];

/// Files below `/proc/sys` that are replaced: the boot id that everybody has, and what else is asked for.
pub(crate) fn sysctl(machine: &Machine) -> Vec<Generated> {
    let boot_id = format!("00000000-0000-4000-8000-{:012x}\n", number(machine) & 0xffff_ffff_ffff);
    let mut files = vec![("kernel/random/boot_id", boot_id)];
    if let Some(mask) = &machine.mask {
        files.push(("kernel/osrelease", format!("{}\n", mask.kernel_release)));
        files.push(("kernel/version", format!("{}\n", mask.kernel_version)));
    }
    if let Random::Held(seed) = machine.random {
        let end = Stream::new(seed).next() & 0xffff_ffff_ffff;
        files.push(("kernel/random/uuid", format!("00000000-0000-4000-8000-{end:012x}\n")));
    }
    files
}

/// What held `/dev/random` and `/dev/urandom` give.
pub(crate) fn random_bytes(seed: u64) -> Vec<u8> {
    Stream::new(seed).bytes(Random::DEVICE_BYTES)
}

/// `/sys/devices/system/cpu/{online,present,possible}`.
pub(crate) fn cpu_list(cpus: usize) -> String {
    match cpus {
        0 | 1 => "0\n".to_owned(),
        more => format!("0-{}\n", more.saturating_sub(1)),
    }
}

/// What every processor of this architecture can do, and no more.
fn features() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "vendor_id\t: Countersign\nmodel name\t: x86-64\ncpu MHz\t\t: 1000.000\ncache size\t: 1024 KB\n\
         flags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm\n"
    } else {
        "BogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU architecture: 8\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Sandbox;

    #[test]
    fn a_payload_that_plays_root_is_listed_once() {
        let mut plan = Sandbox::new(Vec::new()).plan;
        plan.identity.uid = 0;
        let etc = etc(&plan);
        let passwd =
            etc.iter().find(|(name, _)| *name == "passwd").map(|(_, content)| content.as_str());
        assert_eq!(passwd, Some("build:x:0:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"));
    }

    #[test]
    fn processors_are_listed_as_the_kernel_does() {
        assert_eq!(cpu_list(1), "0\n");
        assert_eq!(cpu_list(4), "0-3\n");
    }
}
