//! The real publisher, killed at each system call that makes something durable.
#![cfg(target_arch = "x86_64")]

use std::process::{Command, Stdio};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::interrupted::{files, restore};
use crate::site::{PROGRAM, Site};

/// rename, renameat, renameat2, fsync: the steps of every durable write.
const DURABLE: [u64; 4] = [82, 264, 316, 74];

/// Runs the program and kills it where it enters its `at`-th durable call. Returns whether it came that far.
fn run_and_kill(site: &Site, arguments: &[&str], at: usize) -> bool {
    // The shell stops itself before it becomes the program, so that nothing of it is missed.
    let mut child = Command::new("sh")
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh", PROGRAM])
        .args(arguments)
        .current_dir(site.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).unwrap();
    nix::sys::signal::kill(pid, Signal::SIGCONT).unwrap();
    let (mut entered, mut durable) = (false, 0);
    let came_that_far = loop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceSyscall(_) => {
                entered = !entered;
                let call = ptrace::getregs(pid).unwrap().orig_rax;
                if entered && DURABLE.contains(&call) {
                    durable += 1;
                    if durable == at {
                        child.kill().unwrap();
                        break true;
                    }
                }
                ptrace::syscall(pid, None).unwrap();
            }
            WaitStatus::Stopped(_, signal) => {
                let pass = Some(signal).filter(|s| !matches!(s, Signal::SIGSTOP | Signal::SIGTRAP));
                ptrace::syscall(pid, pass).unwrap();
            }
            WaitStatus::Exited(_, code) => {
                assert_eq!(code, 0);
                break false;
            }
            WaitStatus::PtraceEvent(..) => ptrace::syscall(pid, None).unwrap(),
            other => assert!(matches!(other, WaitStatus::Continued(_)), "{other:?}"),
        }
    };
    let _reaped_already = child.wait();
    came_that_far
}

#[test]
fn a_publisher_killed_at_any_durable_step_leaves_readers_whole_and_is_resumed() {
    let site = Site::published();
    site.build("OUT", "1.0.0");
    site.draft("OUT");
    site.sign("0002-demo-1.0.0-linux-x86_64", &[1, 2]);
    let (_, kept) = site.follow(&Default::default()).unwrap();
    let public = site.path("REPO/public");
    let before = files(&public);
    let signer = Site::signer(9);
    let publish = ["publish", "--repo", "REPO", "2", "--signer", &signer];
    let mut at = 1;
    while run_and_kill(&site, &publish, at) {
        let seen = site.client().unwrap().verified.len();
        assert!(seen <= 1);
        assert_eq!(site.follow(&kept).unwrap().0.verified.len(), seen, "killed at {at}");
        assert_eq!(site.run(&publish).code, 0, "killed at {at}");
        assert_eq!(site.follow(&kept).unwrap().0.verified.len(), 1);
        restore(&public, &before);
        at += 1;
    }
    assert!(at > 20, "only {at} durable steps were seen");
}
