//! What is known of a payload's system calls.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use countersign_sandbox::{Clock, Error, Exit, Machine, Network, Sandbox};

use crate::world::{Test, run, sandbox};

pub(crate) const ALL: &[Test] = &[
    ("a_census_names_the_calls_that_were_used_and_refused", census),
    ("a_census_hears_of_threads_children_and_what_they_execute", census_of_a_tree),
    ("a_payload_in_a_census_is_refused_what_it_always_is", census_refuses),
    ("without_a_census_there_is_none", no_census),
    ("a_census_under_another_clock_is_refused", census_and_clock),
];

fn counted(sandbox: Sandbox) -> (Vec<String>, String) {
    let (ended, output) = run(sandbox.census());
    assert_eq!(ended.exit, Exit::Code(0), "{output}");
    (ended.calls.into_iter().collect(), output)
}

fn has(calls: &[String], names: &[&str]) {
    for name in names {
        assert!(calls.iter().any(|call| call == name), "no {name} in {calls:?}");
    }
}

fn census() {
    let (calls, _) = counted(sandbox(["cat", "/etc/hostname"]));
    has(&calls, &["execve", "mmap", "openat", "read", "write", "exit_group"]);
    for never in ["connect", "sendmsg", "ptrace", "restart_syscall"] {
        assert!(!calls.iter().any(|call| call == never), "{calls:?}");
    }
    let (calls, _) = counted(sandbox(["tcp", "1.2.3.4:5"]).network(Network::Sinkhole));
    has(&calls, &["socket", "connect"]);
}

fn census_of_a_tree() {
    let (calls, output) = counted(sandbox(["tree"]));
    assert_eq!(output.matches("8 threads, signals").count(), 4, "{output}");
    has(&calls, &["execve", "wait4", "tgkill", "rt_sigreturn", "futex"]);
    assert!(calls.iter().any(|call| ["clone", "vfork", "fork"].contains(&call.as_str())));
}

fn census_refuses() {
    let (calls, counted) = counted(sandbox(["calls"]));
    let (_, plain) = run(sandbox(["calls"]));
    assert_eq!(counted, plain);
    has(&calls, &["io_uring_setup", "ptrace", "bpf", "keyctl", "clone3", "call 1000"]);
    let (_, sockets) = run(sandbox(["sockets"]).census());
    assert_eq!(sockets, run(sandbox(["sockets"])).1);
    let (ended, output) = run(sandbox(["foreign-call"]).census());
    if cfg!(target_arch = "x86_64") {
        assert_eq!((ended.exit, output.as_str()), (Exit::Signal(libc::SIGSYS), ""));
    }
}

fn no_census() {
    let (ended, _) = run(sandbox(["exit", "0"]));
    assert!(ended.calls.is_empty(), "{:?}", ended.calls);
}

fn census_and_clock() {
    let machine = Machine { clock: Clock::Offset(60), ..Machine::default() };
    let refused = sandbox(["exit", "0"]).machine(machine).census().run();
    assert!(matches!(&refused, Err(Error::Description { .. })), "{refused:?}");
}

/// Inside: four children that are this program again, each with eight threads that make calls and get signals.
pub(crate) fn tree() {
    let own = std::env::current_exe().unwrap();
    for _ in 0..4 {
        let status = Command::new(&own).args([crate::world::INSIDE, "threads"]).status().unwrap();
        assert!(status.success(), "{:?} {:?}", status.code(), status.signal());
    }
}

/// Inside: threads that are interrupted in the middle of their calls.
pub(crate) fn threads() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = SigHandler::Handler(nothing);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    // SAFETY: asks for this thread's own number.
    let main = unsafe { libc::pthread_self() };
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..50 {
                    // SAFETY: the main thread outlives these, for it joins them.
                    assert_eq!(unsafe { libc::pthread_kill(main, libc::SIGUSR1) }, 0);
                    std::fs::metadata("/").unwrap();
                }
            })
        })
        .collect();
    for _ in 0..400 {
        std::fs::read("/etc/hostname").unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    println!("8 threads, signals");
}
