//! What the host around a node is like: its clock, its limits, the disk under the node directory, what is trusted and for how long.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{NFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use super::{Finding, finding};
use crate::supervise::Client;
use crate::trust_store::{self, chain};
use crate::{Config, Home};

/// Listening sockets ask for a queue of this length.
const QUEUE: u64 = 4096;

/// Fewer open files than this is little for a node that serves connections.
const FILES: u64 = 1024;

/// Metadata that expires sooner is told.
const SOON: SignedDuration = SignedDuration::from_hours(72);

/// A clock that is behind the newest file by more than this was set back.
const BACK: Duration = Duration::from_mins(2);

/// A lack that the node can do without.
fn optional(mut finding: Finding) -> Finding {
    if let Some(trouble) = &mut finding.trouble {
        trouble.needed = false;
    }
    finding
}

/// What every node on this host has.
pub(super) fn machine() -> Vec<Finding> {
    let queue = number("/proc/sys/net/core/somaxconn");
    let short = queue.filter(|queue| *queue < QUEUE).map(|queue| {
        let text = format!("{queue} connections may queue, {QUEUE} are asked for");
        (text, "sysctl -w net.core.somaxconn=4096: more can wait while a version is swapped")
    });
    let files = getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft);
    let few = files.filter(|files| *files < FILES).map(|files| {
        (format!("{files} open files are allowed"), "LimitNOFILE= in the unit, or ulimit -n")
    });
    let alone = (!is_synchronised()).then(|| {
        let text = "nothing that sets it was found on this machine".to_owned();
        (text, "run chrony or systemd-timesyncd, unless the host of this machine sets its clock")
    });
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let none = cgroups.trim().is_empty().then(|| {
        ("there are none".to_owned(), "memory cannot be bounded, and a node is frozen by signals")
    });
    vec![
        optional(finding("time service", "expiry and delays are judged by the clock", alone)),
        optional(finding("connection queue", "whoever asks during a swap waits in it", short)),
        optional(finding("open files", "a node's connections", few)),
        optional(finding("control groups", "bound and freeze what runs", none)),
    ]
}

/// What this node directory stands on.
pub(super) fn node(home: &Home, config: &Config) -> Vec<Finding> {
    let mut findings = vec![clock(home), disk(home), trusted(home, config)];
    if let Some(address) = config.status
        && !agent_runs(home)
    {
        let taken = TcpListener::bind(address).err().map(|error| {
            let hint = "end what uses it, or change [status] listen: the agent goes on without";
            (format!("{address}: {error}"), hint)
        });
        findings.push(optional(finding("status page", "the agent shows how things are", taken)));
    }
    if let Ok(status) = Client::new(home).status()
        && status.crashes > 0
    {
        let text = format!("{} crashes: {}", status.crashes, status.reason);
        let hint = "look at NODE/log/node.log";
        findings.push(optional(finding("node", "runs without crashing", Some((text, hint)))));
    }
    findings
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether something on this machine sets its clock: the mark of systemd's own service, or one of those that people run.
fn is_synchronised() -> bool {
    const SERVICES: [&str; 5] = ["chronyd", "ntpd", "openntpd", "systemd-timesyn", "ptp4l"];
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return true;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        SERVICES.contains(&name.trim())
    })
}

/// Whether some process holds the agent's lock.
fn agent_runs(home: &Home) -> bool {
    let Ok(file) = fs::File::open(home.agent_lock()) else { return false };
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

/// A clock that is behind what was written here before.
fn clock(home: &Home) -> Finding {
    let written = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let files = [home.journal(), home.trust().join("timestamp.json"), home.config_file()];
    let newest = files.iter().filter_map(|file| written(file)).max();
    let back = newest.filter(|newest| *newest > SystemTime::now() + BACK).map(|_| {
        let text = "it is behind files that were written here before".to_owned();
        (text, "set the clock: expired metadata would be trusted, and delays last longer")
    });
    finding("clock", "goes forward", back)
}

fn disk(home: &Home) -> Finding {
    let trouble = match statfs(home.path()) {
        Ok(stat) if stat.filesystem_type() == TMPFS_MAGIC => Some((
            "the node directory is in memory (tmpfs)".to_owned(),
            "move it to a disk: a reboot would lose the state",
        )),
        Ok(stat) if stat.filesystem_type() == NFS_SUPER_MAGIC => Some((
            "the node directory is on another machine (NFS)".to_owned(),
            "move it to a disk of this machine: locks and syncs there are not what they say",
        )),
        Ok(stat) if stat.files() > 0 && stat.files_free() < stat.files() / 50 => Some((
            format!("{} files can still be made", stat.files_free()),
            "remove small files elsewhere on this disk",
        )),
        Ok(_) => None,
        Err(errno) => Some((errno.to_string(), "look at the disk")),
    };
    finding("disk", "keeps what is written", trouble)
}

fn trusted(home: &Home, config: &Config) -> Finding {
    let now = Timestamp::now();
    let what = "says which releases are good";
    let first = match trust_store::expiries(home, &config.product, now) {
        Err(error) => {
            let trouble =
                Some((chain(&error), "countersign-updater explain asks the mirrors again"));
            return finding("metadata", what, trouble);
        }
        Ok(roles) => roles.into_iter().min_by_key(|role| role.expires),
    };
    let Some(role) = first else { return finding("metadata", what, None) };
    let left = role.expires.duration_since(now);
    if left <= SignedDuration::ZERO {
        let text = format!("{} has expired on {}", role.role, role.expires);
        let hint = "nothing new is taken until its managers refresh it and a mirror has it";
        return finding("metadata", what, Some((text, hint)));
    }
    let soon = (left < SOON).then(|| {
        let hint = "normal if the repository is refreshed often; else tell its managers";
        (format!("{} expires on {}", role.role, role.expires), hint)
    });
    optional(finding("metadata", what, soon))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_behind_the_journal_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        home.finish("").unwrap();
        assert!(clock(&home).trouble.is_none());
        let file = fs::File::options().append(true).open(home.config_file()).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_hours(2)).unwrap();
        assert!(clock(&home).trouble.unwrap().needed);
    }

    #[test]
    fn a_node_directory_in_memory_is_found() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let home = Home::create(&dir.path().join("node")).unwrap();
        assert!(disk(&home).trouble.unwrap().text.contains("tmpfs"));
    }
}
