//! What a payload is told of a machine that is not there, and of bytes that are not random.

use countersign_sandbox::{Clock, Exit, Machine, Mask, Random, Sandbox};

use crate::world::{Test, printed, run, sandbox, with_libraries};

pub(crate) const ALL: &[Test] = &[
    ("the_kernel_is_named_as_told_by_calls_and_in_proc", kernel),
    ("memory_and_disks_are_as_told_by_calls_and_in_proc", sizes),
    ("a_disk_is_as_told_by_whatever_name_and_errors_are_the_kernels", disks),
    ("random_bytes_that_are_held_are_the_same_each_time", held),
    ("processes_that_start_in_any_order_are_held_to_the_same_bytes", parallel),
    ("every_start_of_one_command_gets_other_held_bytes", repeated),
    ("a_command_line_that_is_watched_for_is_told", watched),
    ("a_disturbed_payload_ends_as_it_would", jitter),
    ("without_a_mask_the_truth_is_told", truth),
];

fn shell(script: &str, machine: Machine) -> Sandbox {
    let words = ["/bin/sh", "-c", script].map(Into::into).to_vec();
    with_libraries(Sandbox::new(words)).environment("PATH", "/usr/bin:/bin").machine(machine)
}

fn masked() -> Machine {
    Machine { mask: Some(Mask::default()), ..Machine::default() }
}

fn kernel() {
    let script = "uname -r; uname -v; uname -s; cat /proc/sys/kernel/osrelease /proc/version";
    let told = printed(shell(script, masked()));
    assert_eq!(
        told,
        "6.1.0-countersign\n#1 SMP\nLinux\n6.1.0-countersign\n\
         Linux version 6.1.0-countersign (#1 SMP)\n"
    );
    let mask = Mask { kernel_release: "9.9.9".to_owned(), machine_id: 0xabc, ..Mask::default() };
    let other = Machine { mask: Some(mask), ..Machine::default() };
    let script = "uname -r; cat /etc/machine-id /proc/sys/kernel/random/boot_id; uname -n";
    assert_eq!(
        printed(shell(script, other)),
        "9.9.9\n00000000000000000000000000000abc\n00000000-0000-4000-8000-000000000abc\ncountersign\n"
    );
}

fn sizes() {
    let mask = Mask { memory: 3 << 30, disk: 10 << 30, ..Mask::default() };
    let machine = Machine { mask: Some(mask), ..Machine::default() };
    let told = printed(sandbox(["sizes"]).machine(machine.clone()));
    assert_eq!(
        told,
        "memory 3221225472\nuptime 1\n/ 10737418240\n/usr 10737418240\n/tmp 10737418240\n"
    );
    let script = "grep MemTotal /proc/meminfo; stat -f -c '%T %b %i' /usr /tmp";
    let told = printed(shell(script, machine));
    assert_eq!(told, "MemTotal:       3145728 kB\ntmpfs 2621440 0\ntmpfs 2621440 0\n");
}

fn disks() {
    let mask = Mask { disk: 10 << 30, ..Mask::default() };
    let told =
        printed(sandbox(["disks"]).machine(Machine { mask: Some(mask), ..Machine::default() }));
    let all = "Ok(10737418240)";
    assert_eq!(
        told,
        format!(
            "descriptor {all}\n. {all}\nfile {all}\n../own {all}\n/proc/self/cwd {all}\n/proc/self/fd/0 {all}\n\
             nowhere Err(ENOENT)\n Err(ENOENT)\naaaaaaaaaaaaaaaaaaaa Err(ENAMETOOLONG)\n\
             no name Err(EFAULT)\nno room Err(EFAULT)\nno room for a name Err(EFAULT)\nno file Err(EBADF)\n"
        )
    );
}

/// Through a library, through devices, by the kernel's gift at the start, by a child and by a grandchild.
const ALL_WAYS: &str = "head -c 8 /dev/urandom | od -An -tx1; head -c 8 /dev/random | od -An -tx1; \
     mktemp -u; (mktemp -u; mktemp -u); cat /proc/sys/kernel/random/uuid";

fn held() {
    let machine = |seed| Machine { random: Random::Held(seed), ..Machine::default() };
    let ways = |seed| printed(shell(ALL_WAYS, machine(seed)));
    let first = ways(5);
    assert_eq!(first.lines().count(), 6, "{first}");
    assert_eq!(first, ways(5));
    let other = ways(6);
    for (one, other) in first.lines().zip(other.lines()) {
        assert_ne!(one, other);
    }
    let start = |clock| {
        let machine = Machine { random: Random::Held(1), clock, ..Machine::default() };
        printed(sandbox(["start-bytes"]).machine(machine))
    };
    assert_eq!(start(Clock::Real), start(Clock::Held(1_000_000_000)));
    assert_ne!(printed(sandbox(["start-bytes"])), printed(sandbox(["start-bytes"])));
}

fn parallel() {
    let script = "for i in 1 2 3 4 5 6 7 8; do (exec mktemp -u $i.XXXXXXXX) & done; wait";
    let told = |jitter| {
        let machine = Machine { random: Random::Held(5), jitter, ..Machine::default() };
        let told = printed(shell(script, machine));
        let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let first = told(None);
    assert_eq!(first.len(), 8);
    for seed in 0..5 {
        assert_eq!(first, told(Some(seed)));
    }
}

fn repeated() {
    let machine = Machine { random: Random::Held(5), ..Machine::default() };
    let told = printed(shell("mktemp -u; mktemp -u; mktemp -u", machine));
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 3, "{told}");
}

fn watched() {
    let watch = vec!["-march=native".to_owned()];
    let machine = Machine { watch, ..Machine::default() };
    let (ended, _) = run(shell("true -march=native x; env true -O2 -march=native; :", machine));
    assert_eq!(ended.exit, Exit::Code(0));
    // `true` is the shell's own; what the shell was told ends otherwise.
    assert_eq!(ended.seen, ["env true -O2 -march=native", "true -O2 -march=native"]);
}

fn jitter() {
    let machine = Machine { jitter: Some(3), ..masked() };
    let script = "i=0; while [ $i -lt 30 ]; do (exit 3) & i=$((i + 1)); done; wait; exit 7";
    assert_eq!(run(shell(script, machine)).0.exit, Exit::Code(7));
}

fn truth() {
    let own = nix::sys::utsname::uname().unwrap();
    let told = printed(shell("uname -r", Machine::default()));
    assert_eq!(told.trim(), own.release().to_string_lossy());
}
