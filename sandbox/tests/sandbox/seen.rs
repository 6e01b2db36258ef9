//! What the payload sees of itself and the machine.

use countersign_sandbox::{Clock, Error, Identity, Limits, Machine};

use crate::world::{Test, is_root, printed, sandbox};

pub(crate) const ALL: &[Test] = &[
    ("the_environment_is_what_was_given_and_nothing_else", environment),
    ("name_host_and_domain_are_as_told", identity),
    ("a_payload_can_play_root", plays_root),
    ("the_processor_count_is_as_told_everywhere", processors),
    ("more_processors_than_there_are_is_refused_by_name", too_many_processors),
    ("the_machine_behind_proc_is_made_up", masked),
    ("addresses_can_be_made_the_same_each_time", addresses),
    ("the_clock_shows_the_time_it_is_told", clock),
    ("the_payload_starts_where_it_is_told", work_dir),
];

fn environment() {
    assert_eq!(printed(sandbox(["environment"])), "");
    let output = printed(sandbox(["environment"]).environment("A", "1").environment("A", "2"));
    assert_eq!(output, "A=2\n");
}

fn identity() {
    let identity = Identity {
        user: "maker".to_owned(),
        uid: 4321,
        gid: 1234,
        hostname: "anvil".to_owned(),
        domain: "forge.example".to_owned(),
    };
    let output = printed(sandbox(["system"]).identity(identity));
    for line in ["host anvil", "domain forge.example", "user 4321 1234", "name maker home /tmp"] {
        assert!(output.lines().any(|one| one == line), "no {line} in {output}");
    }
}

fn plays_root() {
    let identity = Identity { user: "root".to_owned(), uid: 0, gid: 0, ..Identity::default() };
    let output = printed(sandbox(["system"]).identity(identity.clone()));
    assert!(output.contains("user 0 0") && output.contains("name root"), "{output}");
    let output =
        printed(sandbox(["write", "/proc/sys/kernel/core_pattern", "/new"]).identity(identity));
    assert!(!output.contains("ok"), "{output}");
}

fn machine(cpus: u32) -> Machine {
    Machine { cpus: Some(cpus), ..Machine::default() }
}

fn processors() {
    let output = printed(sandbox(["system"]).machine(machine(1)));
    for line in ["affinity 1", "online 1", "configured 1"] {
        assert!(output.lines().any(|one| one == line), "no {line} in {output}");
    }
    let output = printed(
        sandbox(["cat", "/sys/devices/system/cpu/online", "/proc/cpuinfo"]).machine(machine(1)),
    );
    assert!(output.starts_with("/sys/devices/system/cpu/online: ok 0\n"), "{output}");
    assert_eq!(output.matches("processor\t").count(), 1, "{output}");
}

fn too_many_processors() {
    let refused = sandbox(["exit", "0"]).machine(machine(100_000)).run();
    assert!(
        matches!(refused, Err(Error::Missing { capability, .. }) if capability == "processors")
    );
}

fn masked() {
    let paths = [
        "cat",
        "/etc/machine-id",
        "/proc/sys/kernel/random/boot_id",
        "/proc/meminfo",
        "/proc/uptime",
        "/proc/version",
        "/proc/loadavg",
        "/proc/stat",
        "/proc/cmdline",
        "/proc/partitions",
    ];
    let inside = printed(sandbox(paths));
    assert!(inside.contains("MemTotal:       4194304 kB"), "{inside}");
    for path in &paths[1..] {
        let Ok(outside) = std::fs::read_to_string(path) else { continue };
        assert!(
            outside.trim().is_empty() || !inside.contains(outside.trim()),
            "{path} tells the truth"
        );
    }
    if is_root() {
        let limits = Limits { memory: Some(256 << 20), ..Limits::default() };
        let inside = printed(sandbox(["cat", "/proc/meminfo"]).limits(limits));
        assert!(inside.contains("MemTotal:       262144 kB"), "{inside}");
    }
}

fn addresses() {
    let fixed = Machine { aslr: false, ..Machine::default() };
    let first = printed(sandbox(["address"]).machine(fixed.clone()));
    assert_eq!(first, printed(sandbox(["address"]).machine(fixed)));
    let random: Vec<String> = (0..4).map(|_| printed(sandbox(["address"]))).collect();
    assert!(random.iter().any(|one| *one != random[0]), "{random:?}");
}

fn clock() {
    let held = Machine { clock: Clock::Held(1_000_000_000), ..Machine::default() };
    let output = printed(sandbox(["system"]).machine(held));
    let line = output.lines().find_map(|line| line.strip_prefix("time ")).unwrap();
    let seconds: u64 = line.parse().unwrap();
    assert!((1_000_000_000..1_000_000_600).contains(&seconds), "{output}");
}

fn work_dir() {
    assert_eq!(printed(sandbox(["where"])), "/\n");
    assert_eq!(printed(sandbox(["where"]).work_dir("/usr")), "/usr\n");
    let refused = sandbox(["where"]).work_dir("/nowhere").run();
    assert!(matches!(refused, Err(Error::Setup { step, .. }) if step == "enter /nowhere"));
}
