//! What an operator may go without, and that nothing else is gone without.

use std::process::Command;

use countersign_sandbox::{Error, Exit, Limits, Lowerable, Mount, Sandbox};

use crate::world::{INSIDE, Test, printed, run, sandbox};

pub(crate) const ALL: &[Test] = &[
    ("a_lowered_memory_limit_is_gone_without_only_where_it_is_missing", memory),
    ("what_a_payload_writes_is_not_executed_unless_the_operator_lowers_that", programs),
    ("a_place_to_write_among_the_programs_is_refused", among_programs),
    ("a_machine_without_landlock_is_refused_unless_exactly_that_is_lowered", landlock),
];

fn memory() {
    let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    let lowered = sandbox(["exit", "0"]).limits(limits).lower([Lowerable::MemoryLimit]);
    let expected = match crate::life::has("memory limit") {
        true => vec![],
        false => vec![Lowerable::MemoryLimit],
    };
    assert_eq!(run(lowered).0.lowered, expected);
    // Named, and not asked for.
    assert_eq!(run(sandbox(["exit", "0"]).lower([Lowerable::MemoryLimit])).0.lowered, []);
}

fn programs() {
    let (ended, output) = run(sandbox(["memory-program"]).given_programs());
    assert_eq!(ended.exit, Exit::Code(101), "{output}");
    let (ended, output) =
        run(sandbox(["memory-program"]).given_programs().lower([Lowerable::Programs]));
    assert_eq!((ended.exit, ended.lowered), (Exit::Code(0), vec![Lowerable::Programs]), "{output}");
    // Other walls stand where they stood.
    assert_eq!(output.matches("EPERM").count(), 8, "{output}");
}

fn among_programs() {
    let dir = tempfile::tempdir().unwrap();
    let among = |to: &str| {
        sandbox(["exit", "0"])
            .mount(Mount::Writable { from: dir.path().into(), to: to.into() })
            .given_programs()
    };
    assert!(matches!(among("/usr/local").run(), Err(Error::Description { .. })));
    assert_eq!(printed(among("/state")), "");
}

fn landlock() {
    let output =
        Command::new("/proc/self/exe").args([INSIDE, "without-landlock"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["landlock", "landlock", "ran without landlock", "programs"], "{text}");
}

/// Runs in a process of its own, for which the kernel has no Landlock.
pub(crate) fn without_landlock() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let calls = [(libc::SYS_landlock_create_ruleset, Vec::new())].into_iter().collect();
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let here = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, absent, here).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    let told = |sandbox: Sandbox| match sandbox.run() {
        Ok(ended) => {
            let names: Vec<&str> = ended.lowered.iter().map(|one| one.name()).collect();
            println!("ran without {}", names.join(", "));
        }
        Err(Error::Missing { capability, .. }) => println!("{capability}"),
        Err(error) => println!("{error}"),
    };
    let exit = || sandbox(["exit", "0"]);
    told(exit());
    told(exit().lower([Lowerable::MemoryLimit, Lowerable::Programs]));
    told(exit().lower([Lowerable::Landlock]));
    told(exit().lower([Lowerable::Landlock]).given_programs());
}
