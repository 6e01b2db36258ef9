//! Processes as `/proc` shows them: who descends from whom, since when, and in which state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// A line of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) state: char,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// Clock ticks after boot: with the pid, it names a process for ever.
    pub(super) start: u64,
}

/// Reads `/proc/PID/stat`; `None` if there is no such process.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name, in parentheses, may hold anything, parentheses too: count from the last one.
fn parse(text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(')')?;
    let pid = head.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    Some(Stat {
        pid,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect()
}

/// Every living descendant of `root`, and every member of the process group `group`; without zombies, `root`
/// and this process.
pub(super) fn tree(root: i32, group: Option<i32>) -> Vec<Stat> {
    let all = all();
    let mut children: BTreeMap<i32, Vec<&Stat>> = BTreeMap::new();
    for stat in &all {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut found = BTreeMap::new();
    let mut next = vec![root];
    let mut seen = BTreeSet::new();
    while let Some(pid) = next.pop() {
        if !seen.insert(pid) {
            continue;
        }
        for child in children.get(&pid).into_iter().flatten() {
            found.insert(child.pid, (*child).clone());
            next.push(child.pid);
        }
    }
    for stat in all.iter().filter(|stat| Some(stat.group) == group) {
        found.insert(stat.pid, stat.clone());
    }
    let myself = std::process::id().cast_signed();
    found.into_values().filter(|s| !matches!(s.state, 'Z' | 'X') && s.pid != myself).collect()
}

/// [`tree`], with `root` itself.
pub(super) fn tree_with_root(root: i32, group: Option<i32>) -> Vec<Stat> {
    let mut found = tree(root, group);
    if !found.iter().any(|process| process.pid == root) {
        found.extend(stat(root).filter(|process| !matches!(process.state, 'Z' | 'X')));
    }
    found
}

/// Every process but this one that has `file` open, as far as this user may look.
pub(super) fn holders(file: &Path) -> Vec<Stat> {
    let Ok(wanted) = fs::metadata(file) else { return Vec::new() };
    let myself = std::process::id().cast_signed();
    let holds = |pid: i32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.flatten().any(|descriptor| {
            fs::metadata(descriptor.path())
                .is_ok_and(|it| (it.dev(), it.ino()) == (wanted.dev(), wanted.ino()))
        })
    };
    let living = |stat: &Stat| stat.pid != myself && !matches!(stat.state, 'Z' | 'X');
    all().into_iter().filter(|stat| living(stat) && holds(stat.pid)).collect()
}

/// Whether a process was started with an environment variable that begins like this.
pub(super) fn has_variable(pid: i32, beginning: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(beginning))
}

/// How long a process has run.
pub(super) fn age(process: &Stat) -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let ticks = sysconf(SysconfVar::CLK_TCK).ok()??;
    let start = Duration::from_millis(process.start * 1000 / u64::try_from(ticks).ok()?);
    Some(Duration::try_from_secs_f64(uptime).ok()?.saturating_sub(start))
}

/// How many processes the kernel has ended for want of memory, since the boot.
pub(super) fn oom_kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Sends a signal to each; one that ended meanwhile is no error.
pub(super) fn signal(processes: &[Stat], signal: Signal) {
    for process in processes {
        // The pid may be another process by now only if this one ended; the start time tells.
        if stat(process.pid).is_some_and(|now| now.start == process.start) {
            let _gone = kill(Pid::from_raw(process.pid), signal);
        }
    }
}

/// Whether every thread of the process is stopped.
fn is_stopped(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let text = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        parse(&text).is_none_or(|stat| matches!(stat.state, 'T' | 't' | 'Z' | 'X'))
    })
}

/// Stops every descendant of `root` where it is, but for `others`. `false`: some still ran at the deadline.
pub(super) fn freeze(root: i32, others: &[i32], deadline: Instant) -> bool {
    let tree = || {
        let mut found = tree(root, None);
        found.retain(|process| !others.contains(&process.pid));
        found
    };
    loop {
        let processes = tree();
        let running: Vec<_> =
            processes.iter().filter(|process| !is_stopped(process.pid)).cloned().collect();
        // Once all are stopped nobody can start another one: a second look sees whoever came in between.
        if running.is_empty() && tree().len() == processes.len() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        signal(&running, Signal::SIGSTOP);
        breathe();
    }
}

/// Lets others run for a moment while a condition is polled.
#[expect(clippy::disallowed_methods, reason = "/proc cannot be waited on; callers have deadlines")]
pub(super) fn breathe() {
    std::thread::sleep(Duration::from_millis(2));
}

/// The kernel's boot id: pids and start times mean something within one boot only.
pub(super) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_is_read() {
        let line = "7 (a) b (c) T 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let stat = parse(line).unwrap();
        assert_eq!(
            (stat.pid, stat.state, stat.parent, stat.group, stat.start),
            (7, 'T', 1, 7, 4242)
        );
    }

    #[test]
    fn a_frozen_tree_is_stopped_with_its_children_and_goes_on_after() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & sleep 60 & wait"])
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        let deadline = Instant::now() + Duration::from_secs(30);
        while tree(pid, None).len() < 2 && Instant::now() < deadline {
            breathe();
        }
        let root = stat(pid).unwrap();
        signal(&[root], Signal::SIGSTOP);
        assert!(freeze(pid, &[], deadline));
        assert!(tree(pid, None).iter().all(|process| process.state == 'T'));
        let tree = tree(pid, None);
        signal(&tree, Signal::SIGKILL);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
